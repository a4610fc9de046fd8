"""From stored images to the specification of their data set, where nothing but the images and the settings says what they are."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from vqkit.data.splits import is_binary, is_exclusive
from vqkit.interfaces import ConditionSpec, DataSpec

ValueKindChoice = Annotated[
    Literal["auto", "binary", "intensity"],
    Field(description="Whether pixels are shapes, cut at half of the range, or intensities; auto: binary if all are 0 or 255."),
]
"""The setting `value_kind`."""

SampledKindChoice = Annotated[
    Literal["auto", "binary", "intensity", "sampled"],
    Field(
        description="Whether pixels are shapes, cut at half of the range, or intensities; auto: binary if all are 0 or 255; "
        "sampled: shapes, whose pixels are set with their grey value's probability, anew in each epoch of training."
    ),
]
"""The setting `value_kind` of data sets that hold their images in memory."""


def with_kind(images: Tensor, kind: SampledKindChoice) -> Tensor:
    """Images uint8 [N, C, H, W] as they are to be stored: cut at half of the range where shapes are asked for."""
    return (images >= 128).to(torch.uint8).mul_(255) if kind == "binary" else images


def describe(
    images: Tensor,
    kind: SampledKindChoice,
    name: str,
    components: tuple[str, ...],
    conditions: tuple[ConditionSpec, ...],
    classes: tuple[str, ...] = (),
) -> DataSpec:
    """The specification of images uint8 [N, C, H, W] that `with_kind` has made."""
    if kind == "auto":
        kind = "binary" if is_binary(images) else "intensity"
    if kind == "sampled":
        kind = "binary"
    exclusive = kind == "binary" and is_exclusive(images)
    return DataSpec(name, components, images.shape[2], images.shape[3], kind, exclusive, conditions, classes)
