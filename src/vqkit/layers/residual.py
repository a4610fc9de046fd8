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


class SelfAttention(nn.Module):
    """Every position looks at every other one: x + out(attention(norm(x))), starting as the identity.

    A missing component has to be guessed from the whole image, further than a few convolutions see.
    """

    def __init__(self, channels: int, head_width: int = 64) -> None:
        super().__init__()
        self.heads = number_of_heads(channels, head_width)
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, h, w]."""
        batch, channels, height, width = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.project(self.norm(tokens)).chunk(3, dim=2)
        )
        # Written out: on a processor the fused kernel's backward pass is several times slower at these sizes (128 positions).
        weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1)
        mixed = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).reshape(batch, channels, height, width)


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


def number_of_heads(channels: int, head_width: int) -> int:
    """How many equal heads of about `head_width` channels there are: `channels // head_width`, or the next smaller divisor."""
    wanted = max(1, channels // head_width)
    return next(heads for heads in range(wanted, 0, -1) if channels % heads == 0)


@torch.no_grad()
def zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Make a layer give zero until it has learned something."""
    for parameter in layer.parameters():
        parameter.zero_()
