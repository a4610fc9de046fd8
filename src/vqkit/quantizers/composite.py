"""What quantizers that consist of other quantizers share: several codes per position."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.interfaces import Quantizer
from vqkit.layers.module_list import TypedModuleList
from vqkit.registry import QUANTIZERS


class CompositeQuantizer(Quantizer):
    """Several quantizers with equal settings, whose indices are stacked: int64 [B, num_quantizers, h, w]."""

    def __init__(self, choice: NamedOptions, count: int) -> None:
        super().__init__()
        inner: list[Quantizer] = [QUANTIZERS.build(choice.name, choice.options) for _ in range(count)]
        self.inner = TypedModuleList(inner)
        self.num_quantizers = count * inner[0].num_quantizers
        self.num_codes = inner[0].num_codes
        self.commitment_weight = inner[0].commitment_weight

    def reset_unused_codes(self, counts: Tensor, generator: torch.Generator) -> int:
        """See `Quantizer.reset_unused_codes`."""
        return sum(inner.reset_unused_codes(part, generator) for inner, part in self._parts(counts, 0))

    def _parts(self, tensor: Tensor, dim: int) -> list[tuple[Quantizer, Tensor]]:
        """Each inner quantizer with its part of a tensor whose dimension `dim` is `num_quantizers` (absent if that is 1)."""
        parts = (tensor.unsqueeze(dim) if self.num_quantizers == 1 else tensor).chunk(len(self.inner), dim)
        single = self.num_quantizers == len(self.inner)
        return [(inner, part.squeeze(dim) if single else part) for inner, part in zip(self.inner, parts, strict=True)]

    def _stacked(self, indices: list[Tensor]) -> Tensor:
        """Indices of the inner quantizers as one tensor, int64 [B, num_quantizers, h, w], or [B, h, w] if `num_quantizers` is 1."""
        if self.num_quantizers == 1:
            return indices[0]
        return torch.stack(indices, 1) if self.num_quantizers == len(self.inner) else torch.cat(indices, 1)
