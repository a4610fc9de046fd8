"""Root mean square normalisation of the features of each pixel.

Shapes: B images, C channels, h x w positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST = 1e-6
"""Added to the mean square, so that features that are all zero stay so."""


class ChannelNorm(nn.Module):
    """The features of each pixel divided by their root mean square, times a learned factor for each channel.

    Zhang and Sennrich 2019, "Root Mean Square Layer Normalization" (arXiv 1910.07467), over the channels. No pixel depends on
    another one, so that tiles of an image are computed as in the whole.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, h, w]; the mean square is float32."""
        scale = (x.float().square().mean(dim=1, keepdim=True) + _LEAST).rsqrt()
        return x * (self.factor * scale).to(x.dtype)
