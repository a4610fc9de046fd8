"""A codebook that learns by gradient descent, as in the first VQ-VAE (van den Oord et al. 2017, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.core import distributed
from vqkit.quantizers.codebook import CodebookOptions, LearnedCodebook
from vqkit.quantizers.sphere import unit
from vqkit.quantizers.straight_through import count_by_code
from vqkit.registry import QUANTIZERS


@QUANTIZERS.register("gradient")
class GradientCodebook(LearnedCodebook):
    """The codes are a parameter, which the gradient of the codebook loss pulls to the features that chose them.

    With the cosine distance the parameter is of any length, and what is used is its direction.
    """

    Options = CodebookOptions
    codes: nn.Parameter

    def __init__(self, options: CodebookOptions) -> None:
        super().__init__(options)
        self.codes = nn.Parameter(torch.randn(self.num_codes, self.dim))

    def codebook(self) -> Tensor:
        """See `LookupQuantizer.codebook`."""
        # A copy, since dead codes move between the forward and the backward pass, which needs the old lengths.
        return unit(self.codes.clone(), 1) if self.on_sphere else self.codes

    def _learn(self, rows: Tensor, indices: Tensor) -> Tensor:
        counts = count_by_code(indices, self.num_codes)
        distributed.all_reduce(counts)
        return counts
