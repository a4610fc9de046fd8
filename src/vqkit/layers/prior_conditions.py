"""The conditioning of a prior, encoded as features on its grid of codes.

metadata values ── embedding ─┐
class ──────────── embedding ─┼─ + ── features [B, E, 1, 1], or [B, E, h, w] with a map
map of what is seen ── conv stack with attention ─┘
dropped: one learned null vector in place of all of these

The same null vector is used where the conditioning is dropped in training, in unconditional sampling, and in the unconditional pass
of classifier-free guidance (Ho and Salimans 2022).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.interfaces import CodeSpec, Conditioning
from vqkit.layers.attention import SelfAttention
from vqkit.layers.conditions import ConditionEmbedding
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import PositionEmbedding, ResidualBlock


class PriorConditions(nn.Module):
    """Conditioning to `width` = E features on a level's grid."""

    def __init__(self, spec: CodeSpec, width: int) -> None:
        super().__init__()
        self.null = nn.Parameter(torch.zeros(width))
        self.values = ConditionEmbedding(spec.conditions, width) if spec.conditions else None
        self.classes = nn.Embedding(len(spec.classes) + 1, width) if spec.classes else None
        levels = zip(spec.observed_channels, spec.shapes, strict=False)
        self.maps = TypedModuleList([MapEncoder(channels, width, shape) for channels, shape in levels])

    def forward(self, conditioning: Conditioning, level: int = 0) -> Tensor:
        """Features [B, E, 1, 1], or [B, E, h, w] for a prior that takes feature maps of observed pixels."""
        features = self.null.new_zeros(1, len(self.null), 1, 1)
        if self.values is not None:
            features = features + self.values(conditioning.values)[:, :, None, None]
        if self.classes is not None:
            features = features + self.classes(conditioning.labels + 1)[:, :, None, None]  # 0: unknown
        if len(self.maps):
            features = features + self.maps[level](conditioning.observed[level])
        return torch.where(conditioning.dropped[:, None, None, None], self.null[:, None, None], features)


class MapEncoder(nn.Module):
    """A feature map [B, M, h, w] of the observed part of an image to features [B, E, h, w], each of which depends on all of it."""

    def __init__(self, channels: int, width: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 3, padding=1)
        self.position = PositionEmbedding(width, *shape)
        self.before = ResidualBlock(width, width)
        self.attention = SelfAttention(width)
        self.after = TypedModuleList([ResidualBlock(width, width) for _ in range(2)])

    def forward(self, observed: Tensor) -> Tensor:
        """[B, M, h, w] to [B, E, h, w]."""
        hidden = self.position(self.project(observed.contiguous(memory_format=torch.channels_last)))
        hidden = self.attention(self.before(hidden))
        for block in self.after:
            hidden = block(hidden)
        return F.silu(hidden)
