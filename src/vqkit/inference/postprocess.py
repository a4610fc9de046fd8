"""From expected values to the image that is given out."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.interfaces import DataSpec


def settle(expected: Tensor, images: Tensor, observed: Tensor, spec: DataSpec) -> Tensor:
    """Final images uint8 [B, C, H, W]: the given values where observed, and the most probable ones elsewhere.

    `expected` float [B, C, H, W] in [0, 1]; `images` uint8, or float in [0, 1]; `observed` bool. A shape is set where its
    probability is at least one half. Where data are exclusive, at most one component is set in a pixel: the most probable of
    those that were filled in, or none of them where "none", with all the probability they leave, is more probable, and none
    where a kept one is set. So two components that might both claim a pixel leave no speck between them.
    """
    given = images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)
    if spec.value_kind == "intensity":
        filled = (expected * 255).round().clamp(0, 255).to(torch.uint8)
    elif spec.exclusive:
        filled = _exclusive(expected, given, observed)
    else:
        filled = (expected >= 0.5).to(torch.uint8) * 255
    return torch.where(observed, given, filled)


def _exclusive(expected: Tensor, given: Tensor, observed: Tensor) -> Tensor:
    hidden = expected.masked_fill(observed, 0)
    best, which = hidden.max(dim=1, keepdim=True)  # of equally probable components the first one is set
    nothing = 1 - hidden.sum(dim=1, keepdim=True)
    kept = ((given >= 128) & observed).any(dim=1, keepdim=True)
    chosen = (best >= nothing) & (best > 0) & ~kept
    return torch.zeros_like(given).scatter_(1, which, chosen.to(torch.uint8) * 255)
