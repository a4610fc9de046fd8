"""Masks of validation images, and masks that suit a data set."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from vqkit.config import HolesConfig
from vqkit.core.randomness import generator_for
from vqkit.data.masking import sample_parts
from vqkit.interfaces import DataSpec

Holes = TypeVar("Holes", bound=HolesConfig)


def fixed_observed(images: Tensor, holes: HolesConfig, seed: int, first: int) -> Tensor:
    """A mask of each image that depends on its number alone, bool [B, C, H, W], True where the image is observed.

    `first` is the number of the first image, so that the masks do not depend on how the images are batched or distributed.
    """
    _, components, height, width = images.shape
    generators = (generator_for(seed, "validation", number) for number in range(first, first + len(images)))
    drawn = [sample_parts((1, components, height, width), holes, generator) for generator in generators]
    return torch.cat(drawn).to(images.device)


def resolve_mask_kind(holes: Holes, spec: DataSpec) -> Holes:
    """The configuration with `kind: auto` resolved: components if there are several, else boxes."""
    if holes.kind != "auto":
        return holes
    return holes.model_copy(update={"kind": "components" if len(spec.components) > 1 else "boxes"})
