"""From the expected values that a model gives to final images: discretised, with the observed pixels pasted back.

Images are in unit values (see `vqkit.interfaces.components`), except where a function says that they are stored values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.interfaces import DataSpec


def discretize(expected: Tensor, spec: DataSpec) -> Tensor:
    """The most probable images, float [B, C, H, W] in unit values, for expected values float [B, C, H, W].

    Intensities stay as they are. A shape is set (1) where its probability is at least one half. For exclusive data, at most one
    binary component is set in a pixel: the most probable one, unless the remaining probability, that of no component, is larger. So
    two components that compete for a pixel leave no gap between them.
    """
    if spec.value_kind == "intensity":
        return expected
    if not spec.exclusive:
        decided = (expected >= 0.5).to(expected.dtype)
    else:
        shapes = expected.masked_fill(~spec.binary.to(expected.device)[:, None, None], -torch.inf)
        best, which = shapes.max(dim=1, keepdim=True)  # of equally probable components, the first one
        none = 1 - expected[:, spec.binary.to(expected.device)].sum(dim=1, keepdim=True)
        chosen = (best >= none) & (best > 0)
        decided = torch.zeros_like(expected).scatter_(1, which, chosen.to(expected.dtype))
    if spec.value_kind == "binary":
        return decided
    return torch.where(spec.binary.to(expected.device)[:, None, None], decided, expected)


def fill_missing(expected: Tensor, images: Tensor, observed: Tensor, spec: DataSpec) -> Tensor:
    """Images [B, C, H, W] with what is not observed discretised from `expected`, and the rest pasted from `images`; unit values.

    For exclusive data only missing components compete for a pixel, and none is set where an observed one is.
    """
    if spec.exclusive:
        shapes = spec.binary.to(observed.device)[:, None, None]
        occupied = ((images >= 0.5) & observed & shapes).any(dim=1, keepdim=True)
        expected = expected.masked_fill((observed | occupied) & shapes, 0)
    return torch.where(observed, images, discretize(expected, spec))


def to_stored(expected: Tensor, spec: DataSpec) -> Tensor:
    """The final images of expected values [B, C, H, W], as stored values: see `discretize` and `DataSpec.from_unit`."""
    return spec.from_unit(discretize(expected, spec))


def fill_stored(expected: Tensor, stored: Tensor, observed: Tensor, spec: DataSpec) -> Tensor:
    """Stored images [B, C, H, W] with what is not observed filled in from `expected`, unit values; the rest is kept bit for bit."""
    filled = fill_missing(expected, spec.to_unit(stored), observed, spec)
    return torch.where(observed, stored.to(spec.stored_dtype), spec.from_unit(filled))
