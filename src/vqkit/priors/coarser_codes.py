"""Features of the codes of all coarser levels, on which a level of codes is conditioned.

    coarser codes ── embedding ── upsampled ── sum, position ── residual blocks ── features

Shapes: B samples, C channels, h x w the grid of a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.interfaces import Codes
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import PositionEmbedding, ResidualBlock


class CoarserCodes(nn.Module):
    """Codes of all coarser levels to features on the grid of this one: residual blocks over the sum of their embeddings."""

    def __init__(self, cardinalities: Sequence[int], shape: tuple[int, int], width: int, blocks: int) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = TypedModuleList([nn.Embedding(codes, width) for codes in cardinalities])
        self.position = PositionEmbedding(width, *shape)
        self.blocks = TypedModuleList([ResidualBlock(width, width) for _ in range(blocks)])

    def forward(self, coarser: Codes) -> Tensor:
        """Codes [B, h', w'] of each coarser level to features [B, C, h, w]."""
        levels = zip(self.embeddings, coarser, strict=True)
        maps = [F.interpolate(embedding(codes).permute(0, 3, 1, 2), self.shape, mode="nearest") for embedding, codes in levels]
        hidden = self.position(torch.stack(maps).sum(dim=0).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            hidden = block(hidden)
        return F.silu(hidden)
