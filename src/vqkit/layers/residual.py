"""The blocks that encoders and decoders are made of.

Shapes: B images, C channels, h x w positions, E the width of the condition embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)))), with the second convolution starting at zero.

    No normalisation: a block starts as the identity, which keeps the variance in bounds, and the absolute intensity
    of a feature is what the codebook sees. With `conditions` > 0 the inner features are shifted by a linear function of a
    condition embedding, which also starts at zero.
    """

    def __init__(self, channels: int, inner: int, conditions: int = 0) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, inner, 3, padding=1)
        self.contract = nn.Conv2d(inner, channels, 3, padding=1)
        zero(self.contract)
        self.shift = nn.Linear(conditions, inner) if conditions else None
        if self.shift is not None:
            zero(self.shift)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """[B, C, h, w] and an embedding [B, E] (or None) to [B, C, h, w]."""
        inner = self.expand(F.silu(x))
        if self.shift is not None and embedding is not None:
            inner = inner + self.shift(embedding)[:, :, None, None]
        return x + self.contract(F.silu(inner))


class Downsample(nn.Sequential):
    """Half the height and width: a 4x4 convolution of stride 2. [B, C, h, w] to [B, C', h/2, w/2]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(nn.Conv2d(channels, out, 4, stride=2, padding=1))


class Upsample(nn.Sequential):
    """Twice the height and width: a 3x3 convolution to four times the channels, rearranged (sub-pixel convolution,
    Shi et al. 2016), which has neither the checkerboard of transposed convolutions nor their cost.

    [B, C, h, w] to [B, C', 2h, 2w].
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(nn.Conv2d(channels, 4 * out, 3, padding=1), nn.PixelShuffle(2))


class PositionEmbedding(nn.Module):
    """A learned vector for every row and for every column, added to a map of a fixed size.

    Components sit at typical places; without this, attention and convolutions cannot tell where they are.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(channels, height, 1))
        self.columns = nn.Parameter(torch.zeros(channels, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, h, w]."""
        return x + (self.rows + self.columns).to(x.dtype)


@torch.no_grad()
def zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Make a layer give zero until it has learned something."""
    for parameter in layer.parameters():
        parameter.zero_()
