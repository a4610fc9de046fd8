"""Contracts of data: the specification shared by all parts, data sets, splits and batches.

Shapes: B images, C components (or colour channels), H x W pixels, D condition values, h x w a grid of codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor

from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.interfaces.components import ComponentSpec, ValueKind, common_dtype, from_unit, to_unit
from vqkit.interfaces.names import shown, whole_names
from vqkit.interfaces.plain_values import from_plain

Codes = tuple[Tensor, ...]
"""Code indices, coarse level first, each int64 [B, h, w]; one entry for a VQ-VAE, two or more for a VQ-VAE-2."""

SplitName = Literal["train", "val", "test"]
"""Name of a split."""

LARGEST_SIDE = 2**20
"""Longest side of an image in pixels."""
_DISTINCT = "Give at least one component, each with a name of its own."

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

    `component_specs` describe the C channels (see `vqkit.interfaces.components`); `height` and `width` are those of the tiles that
    a model takes, which larger images are cut into; `exclusive` says that at most one binary component may be set in a pixel, so
    that a label map represents an image completely; `display` names the intensities that composites show, three as red, green and
    blue or one in grey (empty: see `vqkit.image_io.pictures.display_components`).

    Raises `ConfigError` for a `display` that does not name one or three intensities, and `DataError` without components, for two
    of one name, and for a size that no image has.
    """

    name: str
    component_specs: tuple[ComponentSpec, ...]
    height: int
    width: int
    exclusive: bool = False
    conditions: tuple[ConditionSpec, ...] = ()
    classes: tuple[str, ...] = ()
    display: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = self.components
        if not 0 < len(names) == len(set(names)):
            raise DataError(f"The data set {shown(self.name)} has {len(names)} components: {', '.join(names[:8])}.", _DISTINCT)
        if not (0 < self.height <= LARGEST_SIDE and 0 < self.width <= LARGEST_SIDE):
            raise DataError(
                f"Images of {self.height} x {self.width} (height x width) are described.", f"Sides are 1 to {LARGEST_SIDE} pixels."
            )
        if len(self.display) not in (0, 1, 3):
            raise ConfigError(
                f"data.display names {len(self.display)} components: {', '.join(self.display)}.",
                "Name three, which are shown as red, green and blue, or one, which is shown in grey.",
            )
        for position in self.component_indices(self.display):
            if self.component_specs[position].kind == "binary":
                raise ConfigError(
                    f"data.display names {self.components[position]}, which is binary.",
                    "Name intensities; binary components are painted over them in colours of their own.",
                )

    @classmethod
    def uniform(
        cls,
        name: str,
        components: tuple[str, ...],
        height: int,
        width: int,
        kind: ValueKind,
        exclusive: bool = False,
        conditions: tuple[ConditionSpec, ...] = (),
        classes: tuple[str, ...] = (),
    ) -> DataSpec:
        """The specification of images whose components are all of one kind, in uint8 from 0 to 255."""
        specs = tuple(ComponentSpec(component, kind) for component in components)
        return cls(name, specs, height, width, exclusive, conditions, classes)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the C components, in order."""
        return tuple(each.name for each in self.component_specs)

    @property
    def value_kind(self) -> Literal["binary", "intensity", "mixed"]:
        """The kind of values that all components have in common; mixed: some are binary and some are intensities."""
        kinds = {each.kind for each in self.component_specs}
        return next(iter(kinds)) if len(kinds) == 1 else "mixed"

    @property
    def binary(self) -> Tensor:
        """Which components are binary, bool [C]."""
        return torch.tensor([each.kind == "binary" for each in self.component_specs])

    @property
    def stored_dtype(self) -> torch.dtype:
        """The type of stored images: the smallest that holds the values of all components exactly."""
        return common_dtype(self.component_specs)

    def to_unit(self, stored: Tensor) -> Tensor:
        """Stored images [B, C, H, W] in units of each component's range, float32, not clipped: see `components.to_unit`."""
        return to_unit(stored, self.component_specs)

    def from_unit(self, unit: Tensor) -> Tensor:
        """Images in units of the range, [B, C, H, W], as stored values: see `components.from_unit`."""
        return from_unit(unit, self.component_specs)

    @property
    def is_colour(self) -> bool:
        """Whether the channels are the red, green and blue of one picture."""
        return self.components == ("r", "g", "b")

    @property
    def layout(self) -> tuple[object, ...]:
        """What images of two data sets must have in common to be used together: names and kinds of components, height and width."""
        return self.components, tuple(each.kind for each in self.component_specs), self.height, self.width

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

    def named_components(self, parts: Sequence[str]) -> tuple[str, ...]:
        """The components that were named with commas between them, each once; the name of a component may hold commas too.

        Raises `ConfigError` for a name that is not one of them.
        """
        names = whole_names(parts, self.components)
        self.component_indices(names)
        return names

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
        """The inverse of `to_json`. Raises `DataError` for a value that is missing, of a wrong type, or not possible."""
        return from_plain(cls, content)


class Batch(NamedTuple):
    """Images with their conditions and labels.

    `images` [B, C, H, W]: stored values, or float32 in units of the range once on the device (see `to`);
    `conditions` float32 [B, D] in the data's own units, NaN where unknown; `labels` int64 [B], -1 where there is no class;
    `codes`: codes of the unmasked images from a tokenizer, for the training of a prior; else empty;
    `present`: bool, broadcastable to the images, True where there are data; None: everywhere.
    """

    images: Tensor
    conditions: Tensor
    labels: Tensor
    codes: Codes = ()
    present: Tensor | None = None

    def to(self, device: torch.device, spec: DataSpec) -> Batch:
        """The batch on `device`, its images float32 in units of the ranges of `spec`, 0 where nothing is present.

        `spec` is the one that the network was trained on, whose ranges may not be those of this data set.
        """
        moved = self.map(lambda tensor: tensor.to(device, non_blocking=True))
        if not moved.images.numel():
            return moved._replace(images=moved.images.to(torch.float32))
        return moved._replace(images=where_present(spec.to_unit(moved.images), moved.present))

    def pinned(self) -> Batch:
        """The batch in page-locked memory, from which copies to a GPU are asynchronous."""
        return self.map(Tensor.pin_memory)

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with every tensor changed."""
        present = None if self.present is None else change(self.present)
        described = change(self.conditions), change(self.labels)
        return Batch(change(self.images), *described, tuple(change(level) for level in self.codes), present)

    @property
    def observed(self) -> Tensor:
        """Everything that is present, bool of the images' shape: what a model sees where nothing is hidden from it."""
        return fully_observed(self.images, self.present)


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
        """The images at `indices` (int64 [B]), as stored values.

        `present` is None in every batch of a split, or has the same shape for each image of all of them.
        """

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

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """A random variant of the images of a batch on the device, for training. Default: unchanged."""
        del generator
        return batch


class ImageDataset(ABC):
    """A data set of the registry: its specification and its splits."""

    Options: ClassVar[type[BaseModel]]

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """Components, size, kind of values, conditions and classes. May be a class attribute."""

    @property
    def notes(self) -> list[str]:
        """What was understood of the files, a sentence each. Default: nothing."""
        return []

    @property
    def fitted_settings(self) -> dict[str, Any]:
        """What was found from the training images, as settings with which a run opens the same data again. Default: nothing."""
        return {}

    @abstractmethod
    def split(self, name: SplitName) -> Split:
        """One split. A data set without validation images holds out some of its training images.

        Raises `DataError` when that split has no images.
        """

    def measure(self, images: Tensor) -> Tensor | None:
        """Conditions measured from images float [B, C, H, W] in units of the range, float32 [B, D]; None if they cannot be."""
        del images
        return None


def fully_observed(images: Tensor, present: Tensor | None = None) -> Tensor:
    """The mask of images [B, C, H, W] from which nothing is hidden: bool of their shape, True wherever they are present."""
    if present is None:
        return torch.ones_like(images, dtype=torch.bool)
    return present.to(images.device).expand(images.shape)


def where_present(images: Tensor, present: Tensor | None, otherwise: Tensor | float = 0.0) -> Tensor:
    """Images float [B, C, H, W] where they are present, and `otherwise` elsewhere, whatever was stored there, NaN included."""
    return images if present is None else torch.where(present, images, otherwise)


def check_images(images: Tensor, spec: DataSpec) -> None:
    """Raise `DataError` unless the images [B, C, H, W] have the specification's channels and size."""
    expected = (len(spec.components), spec.height, spec.width)
    if images.ndim != 4 or tuple(images.shape[1:]) != expected:
        given = " x ".join(str(size) for size in images.shape[1:])
        raise DataError(
            f"The image is {given} (components x height x width); the model was trained on {' x '.join(map(str, expected))}.",
            f"Its components are {', '.join(spec.components)}.",
        )
