"""The input of a network for a partly observed image."""

from __future__ import annotations

import torch
from torch import Tensor


def observed_pixels(images: Tensor, observed: Tensor) -> Tensor:
    """Observed pixels and mask, [B, 2 C, H, W], of images [B, C, H, W] in unit values: all that a network may use of them.

    The range becomes [-1, 1], and what lies beyond it grows with its logarithm only, so that rare extremes do not drown the rest.
    A hidden pixel is 0, whatever its value, so that missing differs from empty (-1).
    """
    scaled = 2 * images - 1
    excess = (scaled.abs() - 1).clamp_min(0)
    scaled = scaled.clamp(-1, 1) + scaled.sign() * excess.log1p()
    return torch.cat([torch.where(observed, scaled, 0), observed.to(images.dtype)], dim=1)
