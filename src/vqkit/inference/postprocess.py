"""From the expected values that a model gives to final images: discretised, with the observed pixels pasted back."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.interfaces import DataSpec


def discretize(expected: Tensor, spec: DataSpec) -> Tensor:
    """The most probable images uint8 [B, C, H, W] for expected values float [B, C, H, W] in [0, 1].

    Intensities are rounded to 0 ... 255. A shape is set (255) where its probability is at least one half. For exclusive data, at
    most one component is set in a pixel: the most probable one, unless the remaining probability, that of no component, is larger.
    So two components that compete for a pixel leave no gap between them.
    """
    if spec.value_kind == "intensity":
        return (expected * 255).round().clamp(0, 255).to(torch.uint8)
    if not spec.exclusive:
        return (expected >= 0.5).to(torch.uint8) * 255
    best, which = expected.max(dim=1, keepdim=True)  # of equally probable components, the first one
    none = 1 - expected.sum(dim=1, keepdim=True)
    chosen = (best >= none) & (best > 0)
    return torch.zeros_like(expected, dtype=torch.uint8).scatter_(1, which, chosen.to(torch.uint8) * 255)


def paste(result: Tensor, images: Tensor, observed: Tensor) -> Tensor:
    """`result` [B, C, H, W] with the observed values of `images` in place, bit for bit.

    Both are uint8, or float in [0, 1]; float images are rounded to uint8 for a uint8 result.
    """
    return torch.where(observed, _as_stored(images) if result.dtype == torch.uint8 else images, result)


def fill_missing(expected: Tensor, images: Tensor, observed: Tensor, spec: DataSpec) -> Tensor:
    """Images uint8 [B, C, H, W] with what is not observed discretised from `expected`, and the rest pasted from `images`.

    For exclusive data only missing components compete for a pixel, and none is set where an observed one is.
    """
    if spec.value_kind == "binary" and spec.exclusive:
        occupied = ((_as_stored(images) >= 128) & observed).any(dim=1, keepdim=True)
        expected = expected.masked_fill(observed | occupied, 0)
    return paste(discretize(expected, spec), images, observed)


def _as_stored(images: Tensor) -> Tensor:
    """Images as uint8."""
    return images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)
