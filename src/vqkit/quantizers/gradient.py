"""A codebook trained by gradient descent, as in the first VQ-VAE (van den Oord et al. 2017, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.core import distributed
from vqkit.quantizers.codebook import CodebookOptions, LearnedCodebook
from vqkit.quantizers.l2_normalize import l2_normalize
from vqkit.quantizers.straight_through import count_by_code
from vqkit.registry import QUANTIZERS


@QUANTIZERS.register("gradient")
class GradientCodebook(LearnedCodebook):
    """The codes are a parameter: the gradient of the codebook loss moves them towards the features that chose them.

    With the cosine distance the parameter itself is not normalised; its l2-normalised rows are the codes.
    """

    Options = CodebookOptions
    codes: nn.Parameter

    def __init__(self, options: CodebookOptions) -> None:
        super().__init__(options)
        self.codes = nn.Parameter(torch.randn(self.num_codes, self.dim))

    def codebook(self) -> Tensor:
        """See `LookupQuantizer.codebook`."""
        # A copy: dead codes are reset between the forward pass and the backward pass, which needs the old norms.
        return l2_normalize(self.codes.clone(), 1) if self.l2_normalized else self.codes

    def _update_codes(self, rows: Tensor, indices: Tensor) -> Tensor:
        counts = count_by_code(indices, self.num_codes)
        distributed.all_reduce(counts)
        return counts
