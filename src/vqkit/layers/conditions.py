"""Embedding of condition values: numbers that describe an image (width, height, ...)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.interfaces import ConditionSpec


class ConditionEmbedding(nn.Module):
    """Embeds condition values in one vector; each condition has a learned vector for an unknown value (NaN).

    These learned vectors are used in training (where conditions are dropped at random), in inpainting without conditions, and in
    the unconditional pass of classifier-free guidance.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, conditions: tuple[ConditionSpec, ...], width: int) -> None:
        super().__init__()
        count = len(conditions)
        self.slope = nn.Parameter(torch.randn(count, width) / max(1, count) ** 0.5)
        self.known = nn.Parameter(torch.zeros(count, width))
        self.unknown = nn.Parameter(torch.zeros(count, width))
        self.mix = nn.Linear(width, width)
        self.register_buffer("mean", torch.tensor([item.mean for item in conditions], dtype=torch.float32))
        self.register_buffer("deviation", torch.tensor([item.std or 1.0 for item in conditions], dtype=torch.float32))

    def forward(self, conditions: Tensor) -> Tensor:
        """Values [B, D] in the units of the data, NaN where unknown, to an embedding [B, width]."""
        unknown = conditions.isnan()
        values = ((conditions - self.mean) / self.deviation).masked_fill(unknown, 0.0)
        each = torch.where(unknown[:, :, None], self.unknown, values[:, :, None] * self.slope + self.known)
        return F.silu(self.mix(F.silu(each.sum(dim=1))))
