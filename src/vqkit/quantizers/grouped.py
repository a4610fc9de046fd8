"""Grouped quantization: one code per group of channels (product quantization, Jegou et al. 2011; with residual quantizers
in each group: Yang et al. 2023, "HiFi-Codec")."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import NamedOptions, Settings
from vqkit.interfaces import Quantized
from vqkit.quantizers.choice import QuantizerChoice
from vqkit.quantizers.composite import CompositeQuantizer
from vqkit.registry import QUANTIZERS


class GroupedOptions(Settings):
    """Settings of grouped quantization."""

    groups: int = Field(2, ge=1, le=64, description="Groups of channels; D is this times the dimension of the inner quantizer.")
    inner: QuantizerChoice = Field(
        NamedOptions(name="ema"), validate_default=True, description="Name and settings of the quantizer of each group."
    )


@QUANTIZERS.register("grouped")
class GroupedVQ(CompositeQuantizer):
    """The features [B, D, h, w] are split into groups along D; each group has its own quantizer and its own codes.

    Indices are int64 [B, num_quantizers, h, w], ordered by group. Losses are means over the groups, and so over all D channels.
    """

    Options = GroupedOptions

    def __init__(self, options: GroupedOptions) -> None:
        super().__init__(options.inner, options.groups)
        self.options = options
        self.dim = options.groups * self.inner[0].dim

    def forward(self, features: Tensor) -> Quantized:
        """See `Quantizer.forward`."""
        # A list, because torch.compile of torch 2.6 cannot leave the compiled code in the middle of a strict zip.
        pairs = list(zip(self.inner, self._split(features), strict=True))
        groups = [inner(part) for inner, part in pairs]
        return Quantized(
            torch.cat([group.features for group in groups], 1),
            self._stacked([group.indices for group in groups]),
            torch.stack([group.codebook_loss for group in groups]).mean(),
            torch.stack([group.commitment_loss for group in groups]).mean(),
        )

    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        return self._stacked([inner.encode(part) for inner, part in zip(self.inner, self._split(features), strict=True)])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        return torch.cat([inner.decode(part) for inner, part in self._parts(indices, 1)], 1)

    def _split(self, features: Tensor) -> tuple[Tensor, ...]:
        """The channels of each group, [B, D / groups, h, w]."""
        return features.chunk(len(self.inner), 1)
