"""Inferring the specification of a data set from its images and settings."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from vqkit.data.splits import is_binary, is_exclusive
from vqkit.interfaces import ConditionSpec, DataSpec

ValueKindChoice = Annotated[
    Literal["auto", "binary", "intensity"],
    Field(description="Kind of values: binary (thresholded at half of the range) or intensity; auto: binary if all are 0 or 255."),
]
"""The setting `value_kind`."""

SampledKindChoice = Annotated[
    Literal["auto", "binary", "intensity", "sampled"],
    Field(
        description="Kind of values: binary (thresholded at half of the range) or intensity; auto: binary if all are 0 or 255; "
        "sampled: stochastically binarised, each pixel set with its grey value as probability, anew in each training epoch."
    ),
]
"""The setting `value_kind` of data sets in memory, which can be binarised stochastically."""


def with_kind(images: Tensor, kind: SampledKindChoice) -> Tensor:
    """Images uint8 [N, C, H, W], thresholded at half of the range if `kind` is binary."""
    return (images >= 128).to(torch.uint8).mul_(255) if kind == "binary" else images


def describe(
    images: Tensor,
    kind: SampledKindChoice,
    name: str,
    components: tuple[str, ...],
    conditions: tuple[ConditionSpec, ...],
    classes: tuple[str, ...] = (),
) -> DataSpec:
    """The specification of images uint8 [N, C, H, W] returned by `with_kind`."""
    if kind == "auto":
        kind = "binary" if is_binary(images) else "intensity"
    if kind == "sampled":
        kind = "binary"
    exclusive = kind == "binary" and is_exclusive(images)
    return DataSpec.uniform(name, components, images.shape[2], images.shape[3], kind, exclusive, conditions, classes)
