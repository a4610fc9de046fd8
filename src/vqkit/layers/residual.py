"""Building blocks of encoders and decoders.

Shapes: B images, C channels, h x w positions, E the width of the condition embedding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """x + conv(silu(conv(silu(x)))), whose second convolution is initialised to zero.

    There is no normalisation: a block starts as the identity, which bounds the variance, and the quantizer depends on the absolute
    scale of the features. With `conditions` > 0 the inner features are shifted by a linear function of a condition embedding, also
    initialised to zero.
    """

    def __init__(self, channels: int, inner: int, conditions: int = 0) -> None:
        super().__init__()
        self.expand = nn.Conv2d(channels, inner, 3, padding=1)
        self.contract = nn.Conv2d(inner, channels, 3, padding=1)
        init_zero(self.contract)
        self.shift = nn.Linear(conditions, inner) if conditions else None
        if self.shift is not None:
            init_zero(self.shift)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """[B, C, h, w] and an embedding [B, E] (or None) to [B, C, h, w]."""
        inner = self.expand(F.silu(x))
        if self.shift is not None and embedding is not None:
            inner = inner + self.shift(embedding)[:, :, None, None]
        return x + self.contract(F.silu(inner))


class Downsample(nn.Sequential):
    """A 4x4 convolution of stride 2: [B, C, h, w] to [B, C', h/2, w/2]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(nn.Conv2d(channels, out, 4, stride=2, padding=1))


class Upsample(nn.Sequential):
    """Sub-pixel convolution (Shi et al. 2016), a 3x3 convolution and a pixel shuffle: [B, C, h, w] to [B, C', 2h, 2w].

    Cheaper than a transposed convolution, and without its checkerboard artefacts.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(nn.Conv2d(channels, 4 * out, 3, padding=1), nn.PixelShuffle(2))


class PositionEmbedding(nn.Module):
    """A learned vector for every row and every column, added to a feature map of fixed size.

    The content of an image depends on the position, which attention and convolutions do not know otherwise.
    """

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(channels, height, 1))
        self.columns = nn.Parameter(torch.zeros(channels, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, h, w]."""
        return x + (self.rows + self.columns).to(x.dtype)


@torch.no_grad()
def init_zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Initialise a layer to zero, so that its output is zero until it is trained."""
    for parameter in layer.parameters():
        parameter.zero_()
