"""A codebook updated by an exponential moving average (van den Oord et al. 2017, appendix A.1; sonnet's `VectorQuantizerEMA`)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from vqkit.quantizers.codebook import CodebookOptions, LearnedCodebook
from vqkit.quantizers.kmeans import assign
from vqkit.registry import QUANTIZERS

_MIN_SUM_NORM = 1e-15
"""A sum of features with a smaller norm has no usable direction: float32 cannot represent its square."""


class EMAOptions(CodebookOptions):
    """Settings of the EMA codebook."""

    decay: float = Field(0.99, ge=0, lt=1, description="Decay of the EMA of counts and sums, at each update.")
    epsilon: float = Field(1e-5, gt=0, description="Laplace smoothing of the EMA of the counts.")


@QUANTIZERS.register("ema")
class EMACodebook(LearnedCodebook):
    """Each code is an exponential moving average (EMA) of the features that chose it.

    With n_k and s_k the number and the sum of the features of a batch (of all processes) that chose code k, decay g:

        N_k <- g N_k + (1 - g) n_k        m_k <- g m_k + (1 - g) s_k
        e_k  = m_k / N~_k                 N~_k = (N_k + eps) / (sum N + K eps) * sum N

    N and m are the buffers `counts` float32 [K] and `sums` float32 [K, D]; N~ is not stored. A code that is not chosen keeps its
    value, since N and m decay alike, until N approaches eps. A batch with a feature that is not finite changes no code.
    With the cosine distance features are l2-normalised before they are summed, and e_k = m_k / |m_k|.

    A code that is initialised or reset to e, representing n features, gets N = (1 - g) n and m = N e: the EMA of these features,
    started at zero. For its first 1 / (1 - g) updates it is then close to the plain mean of its features, so that it can follow
    an encoder that still changes quickly.
    """

    Options = EMAOptions
    options: EMAOptions
    counts: Tensor
    sums: Tensor

    def __init__(self, options: EMAOptions) -> None:
        super().__init__(options)
        codes = self._normalized(torch.randn(self.num_codes, self.dim))
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.ones(self.num_codes))
        self.register_buffer("sums", codes.clone())

    def codebook(self) -> Tensor:
        """See `LookupQuantizer.codebook`."""
        return self.codes

    def _update_codes(self, rows: Tensor, indices: Tensor) -> Tensor:
        counts, sums = assign(rows, indices, self.num_codes)
        finite = sums.sum().isfinite()
        weight = (1 - self.options.decay) * finite
        self.counts.lerp_(counts, weight)
        self.sums.lerp_(torch.where(finite, sums, self.sums), weight)
        if self.l2_normalized:
            norms = self.sums.norm(dim=1, keepdim=True)
            self.codes.copy_(torch.where(norms > _MIN_SUM_NORM, self.sums / norms, self.codes))
            return counts
        total, epsilon = self.counts.sum(), self.options.epsilon
        smoothed = (self.counts + epsilon) * (total / (total + self.num_codes * epsilon))
        torch.div(self.sums, smoothed[:, None], out=self.codes)
        return counts

    def _set_codes(self, mask: Tensor, codes: Tensor, counts: Tensor) -> None:
        super()._set_codes(mask, codes, counts)
        self.counts.copy_(torch.where(mask, counts * (1 - self.options.decay), self.counts))
        self.sums.copy_(torch.where(mask[:, None], self.codes * self.counts[:, None], self.sums))
