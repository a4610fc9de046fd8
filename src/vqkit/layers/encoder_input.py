"""The input of a network for a partly observed image."""

from __future__ import annotations

import torch
from torch import Tensor


def observed_pixels(images: Tensor, observed: Tensor) -> Tensor:
    """Observed pixels and mask, [B, 2 C, H, W], of images [B, C, H, W] in [0, 1]: all that a network may use of them.

    Observed pixels are scaled to [-1, 1]. A hidden pixel is 0, so that missing differs from empty (-1).
    """
    known = observed.to(images.dtype)
    return torch.cat([(2 * images - 1) * known, known], dim=1)
