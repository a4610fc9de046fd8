"""A codebook that learns by running means (van den Oord et al. 2017, appendix A.1; sonnet's `VectorQuantizerEMA`)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from vqkit.quantizers.codebook import CodebookOptions, LearnedCodebook
from vqkit.quantizers.kmeans import assign
from vqkit.quantizers.sphere import unit
from vqkit.registry import QUANTIZERS

_NO_DIRECTION = 1e-15
"""Length of a sum of features under which it is no longer known where it points: float32 cannot hold its square."""


class EMAOptions(CodebookOptions):
    """Settings of the codebook of running means."""

    decay: float = Field(0.99, ge=0, lt=1, description="Share of the past in the running means, at each update.")
    epsilon: float = Field(1e-5, gt=0, description="Laplace smoothing of the running counts, when codes are made of them.")


@QUANTIZERS.register("ema")
class EMACodebook(LearnedCodebook):
    """Each code is the running mean of the features that chose it.

    With n_k and s_k the number and the sum of the features of a batch (of all processes) that chose code k, decay g:

        N_k <- g N_k + (1 - g) n_k        m_k <- g m_k + (1 - g) s_k
        e_k  = m_k / N~_k                 N~_k = (N_k + eps) / (sum N + K eps) * sum N

    N and m are the buffers `counts` float32 [K] and `sums` float32 [K, D]; N~ is used and not kept. A code that nobody chooses
    stays where it is, as N and m shrink alike, until N nears eps. A batch with a feature that is not finite teaches nothing.
    With the cosine distance features have length one before they are summed, and e_k = m_k / |m_k|.

    A code that starts, or restarts, on n features e has N = (1 - g) n and m = N e, as if the means had begun at zero with them.
    So for its first 1 / (1 - g) updates it is about the plain mean of its features, and follows an encoder that still moves fast.
    """

    Options = EMAOptions
    options: EMAOptions
    counts: Tensor
    sums: Tensor

    def __init__(self, options: EMAOptions) -> None:
        super().__init__(options)
        codes = torch.randn(self.num_codes, self.dim)
        codes = unit(codes, 1) if self.on_sphere else codes
        self.register_buffer("codes", codes)
        self.register_buffer("counts", torch.ones(self.num_codes))
        self.register_buffer("sums", codes.clone())

    def codebook(self) -> Tensor:
        """See `LookupQuantizer.codebook`."""
        return self.codes

    def _learn(self, rows: Tensor, indices: Tensor) -> Tensor:
        counts, sums = assign(rows, indices, self.num_codes)
        finite = sums.sum().isfinite()
        share = (1 - self.options.decay) * finite
        self.counts.lerp_(counts, share)
        self.sums.lerp_(torch.where(finite, sums, self.sums), share)
        if self.on_sphere:
            lengths = self.sums.norm(dim=1, keepdim=True)
            self.codes.copy_(torch.where(lengths > _NO_DIRECTION, self.sums / lengths, self.codes))
            return counts
        total, epsilon = self.counts.sum(), self.options.epsilon
        smoothed = (self.counts + epsilon) * (total / (total + self.num_codes * epsilon))
        torch.div(self.sums, smoothed[:, None], out=self.codes)
        return counts

    def _move(self, moved: Tensor, codes: Tensor, counts: Tensor) -> None:
        super()._move(moved, codes, counts)
        self.counts.copy_(torch.where(moved, counts * (1 - self.options.decay), self.counts))
        self.sums.copy_(torch.where(moved[:, None], self.codes * self.counts[:, None], self.sums))
