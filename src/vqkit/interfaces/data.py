"""Contracts of data: the specification shared by all parts, data sets, splits and batches.

Shapes: B images, C components (or colour channels), H x W pixels, D condition values, h x w a grid of codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor

from vqkit.errors import ConfigError, DataError, did_you_mean

Codes = tuple[Tensor, ...]
"""Code indices, coarse level first, each int64 [B, h, w]; one entry for a VQ-VAE, two or more for a VQ-VAE-2."""

SplitName = Literal["train", "val", "test"]
"""Name of a split."""

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")
"""All splits, in the order in which they are listed."""


@dataclass(frozen=True)
class ConditionSpec:
    """One number that describes an image: name, range in the training set in the data's units, and normalisation."""

    name: str
    minimum: float
    maximum: float
    mean: float
    std: float


@dataclass(frozen=True)
class DataSpec:
    """What every data set, model and checkpoint must agree on.

    `components` names the C channels; `value_kind` says whether pixels are shapes (binary, 0 or 255) or intensities (0 to 255);
    `exclusive` says that at most one component may be set in a pixel, so that a label map represents an image completely.
    """

    name: str
    components: tuple[str, ...]
    height: int
    width: int
    value_kind: Literal["binary", "intensity"]
    exclusive: bool = False
    conditions: tuple[ConditionSpec, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def is_colour(self) -> bool:
        """Whether the channels are the red, green and blue of one picture."""
        return self.components == ("r", "g", "b")

    @property
    def layout(self) -> tuple[tuple[str, ...], int, int, str]:
        """What images of two data sets must have in common to be used together: components, height, width and kind of values."""
        return self.components, self.height, self.width, self.value_kind

    def describe_layout(self) -> str:
        """The layout in words, for messages; of many components, the first eight are named."""
        names = self.components if len(self.components) <= 8 else (*self.components[:8], "...")
        kind = f"{len(self.components)} {self.value_kind} components ({', '.join(names)})"
        return f"{kind} of {self.height} x {self.width} (height x width)"

    @property
    def condition_names(self) -> tuple[str, ...]:
        """Names of the D conditions, in order."""
        return tuple(condition.name for condition in self.conditions)

    def component_indices(self, names: tuple[str, ...] | list[str]) -> list[int]:
        """Positions of the named components. Raises `ConfigError` for a name that is not one of them."""
        for name in names:
            if name not in self.components:
                raise ConfigError(
                    f"There is no component '{name}' in the data set '{self.name}'.", did_you_mean(name, self.components)
                )
        return [self.components.index(name) for name in names]

    def condition_row(self, values: Mapping[str, float]) -> Tensor:
        """Named values as one row, float32 [D], NaN where none is given. Raises `ConfigError` for an unknown name."""
        for name in values:
            if name not in self.condition_names:
                raise ConfigError(
                    f"There is no condition '{name}' in the data set '{self.name}'.", did_you_mean(name, self.condition_names)
                )
        return torch.tensor([float(values.get(name, float("nan"))) for name in self.condition_names], dtype=torch.float32)

    def unknown_conditions(self, count: int, device: torch.device | str | None = None) -> Tensor:
        """Conditions float32 [count, D] of images about which nothing is known: NaN throughout."""
        return torch.full((count, len(self.conditions)), torch.nan, device=device)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DataSpec:
        """The inverse of `to_json`."""
        values = dict(content)
        values["components"] = tuple(values["components"])
        values["classes"] = tuple(values["classes"])
        values["conditions"] = tuple(ConditionSpec(**condition) for condition in values["conditions"])
        return cls(**values)


class Batch(NamedTuple):
    """Images with their conditions and labels.

    `images` uint8 [B, C, H, W] as stored, or float [B, C, H, W] in [0, 1] once on the device;
    `conditions` float32 [B, D] in the data's own units, NaN where unknown; `labels` int64 [B], -1 where there is no class;
    `codes`: codes of the unmasked images from a tokenizer, for the training of a prior; else empty.
    """

    images: Tensor
    conditions: Tensor
    labels: Tensor
    codes: Codes = ()

    def to(self, device: torch.device) -> Batch:
        """The batch on `device`, its images as float in [0, 1]."""
        images, conditions, labels, *codes = (tensor.to(device, non_blocking=True) for tensor in (*self[:3], *self.codes))
        if not images.is_floating_point():
            images = images.to(torch.float32).div_(255)
        return Batch(images, conditions, labels, tuple(codes))

    def pinned(self) -> Batch:
        """The batch in page-locked memory, from which copies to a GPU are asynchronous."""
        images, conditions, labels, *codes = (tensor.pin_memory() for tensor in (*self[:3], *self.codes))
        return Batch(images, conditions, labels, tuple(codes))


class Split(ABC):
    """One part (train, validation or test) of a data set."""

    def __init__(self, spec: DataSpec) -> None:
        self.spec = spec

    @property
    @abstractmethod
    def in_memory(self) -> bool:
        """Whether `batch` only indexes memory; otherwise worker processes call it. May be a class attribute."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64 [B]), as uint8."""

    @abstractmethod
    def names(self, indices: Tensor) -> list[str]:
        """A name for each of the images at `indices`: the stem of its file, or its number."""

    def positions(self, indices: Tensor) -> Tensor:
        """Positions of the images at `indices` in the whole split, int64 [B]: the same, except in a subset of a split."""
        return indices

    def epoch(self, number: int) -> Split:
        """The images of a training epoch (0-based): the same in every epoch, unless a data set resamples them."""
        del number
        return self

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A random variant of float images [B, C, H, W], for training. Default: unchanged."""
        del generator
        return images


class ImageDataset(ABC):
    """A data set of the registry: its specification and its splits."""

    Options: ClassVar[type[BaseModel]]

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """Components, size, kind of values, conditions and classes. May be a class attribute."""

    @abstractmethod
    def split(self, name: SplitName) -> Split:
        """One split. A data set without validation images holds out some of its training images.

        Raises `DataError` when that split has no images.
        """

    def measure(self, images: Tensor) -> Tensor | None:
        """Conditions measured from images [B, C, H, W] (uint8, or float in [0, 1]), float32 [B, D]; None if they cannot be."""
        del images
        return None


def fully_observed(images: Tensor) -> Tensor:
    """The mask of images [B, C, H, W] whose every pixel is observed: bool of their shape, True throughout."""
    return torch.ones_like(images, dtype=torch.bool)


def check_images(images: Tensor, spec: DataSpec) -> None:
    """Raise `DataError` unless the images [B, C, H, W] have the specification's channels and size."""
    expected = (len(spec.components), spec.height, spec.width)
    if images.ndim != 4 or tuple(images.shape[1:]) != expected:
        given = " x ".join(str(size) for size in images.shape[1:])
        raise DataError(
            f"The image is {given} (components x height x width); the model was trained on {' x '.join(map(str, expected))}.",
            f"Its components are {', '.join(spec.components)}.",
        )
