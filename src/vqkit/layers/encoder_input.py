"""What a network is given of a partly observed image."""

from __future__ import annotations

import torch
from torch import Tensor


def observed_pixels(images: Tensor, observed: Tensor) -> Tensor:
    """What a network may see of images [B, C, H, W] in [0, 1]: their observed part, and which part that is, [B, 2 C, H, W].

    A hidden pixel is 0, half way between empty (-1) and full (1): missing is not empty.
    """
    known = observed.to(images.dtype)
    return torch.cat([(2 * images - 1) * known, known], dim=1)
