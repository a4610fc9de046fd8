"""`arrays`: images in .npy, .npz and .safetensors files.

A file holds one array of images, or one for each split: `train`, `val`, `test`, or `{split}_images` with `{split}_labels`
[N] and `{split}_conditions` [N, D], or `x_train` with `y_train`. Images are [N, H, W], [N, C, H, W] or [N, H, W, C]. A file that
`vqkit data prepare` wrote carries its specification, and is used where it lies on the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.data.augmentation import Augmentation, Crop, Flip
from vqkit.data.describing import SampledKindChoice, StoredComponent, describe, with_kind
from vqkit.data.packing import read_spec
from vqkit.data.sampled import SampledSplit
from vqkit.data.splits import ArraySplit, SplitPlan, ValidationShare, condition_specs
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.arrays import Arrays, read_arrays
from vqkit.image_io.values import channel_axis, channel_names, to_bytes
from vqkit.interfaces import SPLITS, DataSpec, ImageDataset, SplitName
from vqkit.registry import DATASETS

MOST_CLASSES = 2**16
_PATTERNS = {
    "images": ("{}_images", "{}", "x_{}", "{}_x", "images_{}"),
    "labels": ("{}_labels", "y_{}", "{}_y", "labels_{}"),
    "conditions": ("{}_conditions",),
    "names": ("{}_names",),
}


class StoredSplit(NamedTuple):
    """One split as stored: images uint8 [N, C, H, W], labels int64 [N], conditions float32 [N, D], and names."""

    images: Tensor
    labels: Tensor
    conditions: Tensor
    names: Sequence[str] | None


@DATASETS.register("arrays")
class ArrayDataset(ImageDataset):
    """Images from a file of arrays."""

    class Options(Settings):
        """Settings of `arrays`."""

        path: str = Field(description="File to read.")
        layout: Literal["auto", "NCHW", "NHWC"] = Field(
            "auto",
            description="Axis order of 4-D arrays; auto: the shorter of the second and the last axis is the channels.",
        )
        components: tuple[str, ...] | None = Field(
            None, min_length=1, description="Names of the channels. Default: r, g, b; grey; or channel_1, channel_2, ..."
        )
        conditions: tuple[str, ...] | None = Field(
            None, description="Names of the columns of the conditions. Default: condition_1, condition_2, ..."
        )
        value_kind: SampledKindChoice = "auto"
        flip: Flip = False
        crop: Crop = 0
        pad_to_multiple: int = Field(1, ge=1, description="Zero-pad height and width on all sides to a multiple of this.")
        validation_share: ValidationShare = 0.05

    def __init__(self, options: Options) -> None:
        self._options = options
        self._path = Path(options.path).expanduser()
        if not self._path.is_file():
            raise DataError(f"{self._path} is not a file.", "Set data.path to a .npy, .npz or .safetensors file.")
        arrays, metadata = read_arrays(self._path)
        self._packed = read_spec(metadata, self._path)
        if self._packed is not None:
            _refuse_options(options, self._path)
        present = ((name, self._content(arrays, name)) for name in SPLITS)
        self._contents: dict[str, StoredSplit] = {name: content for name, content in present if content is not None}
        if not self._contents:
            found = ", ".join(arrays) or "none"
            hint = "Name them train, val and test, or train_images and so on, or store a single array."
            raise DataError(f"{self._path} contains no images under a known name; its arrays are {found}.", hint)
        counts = {name: len(content.images) for name, content in self._contents.items()}
        self._plan = SplitPlan(counts, options.validation_share, self._path)

    def split(self, name: SplitName) -> ArraySplit:
        """One split."""
        source, positions = self._plan.of(name)
        images, labels, conditions, names = self._contents[source]
        if len(positions) < len(images):
            names = [f"{number:06d}" if names is None else names[number] for number in positions.tolist()]
            images, conditions, labels = images[positions], conditions[positions], labels[positions]
        described = conditions, labels, names, Augmentation(self._options.flip, self._options.crop).of(name)
        if self._options.value_kind == "sampled":
            return SampledSplit(self.spec, name, images, *described)
        return ArraySplit(self.spec, images, *described)

    @cached_property
    def spec(self) -> DataSpec:
        """The packed specification, or one made from the arrays and the options."""
        if self._packed is not None:
            return self._packed
        source, positions = self._plan.describing()
        images, _, conditions, _ = self._contents[source]
        count = images.shape[1]
        components = self._options.components or channel_names(count)
        if len(components) != count:
            hint = f"Give {count} names, such as {','.join(channel_names(count))}."
            raise ConfigError(f"data.components names {len(components)} channels; {self._path} has {count}.", hint)
        names = self._options.conditions or tuple(f"condition_{number + 1}" for number in range(conditions.shape[1]))
        if len(names) != conditions.shape[1]:
            hint = f"Give {conditions.shape[1]} names."
            raise ConfigError(f"data.conditions names {len(names)} columns; {self._path} has {conditions.shape[1]}.", hint)
        classes = 1 + max(int(content.labels.max()) for content in self._contents.values())
        return describe(
            images,
            self._options.value_kind,
            self._path.stem,
            [StoredComponent(component, "uint8") for component in components],
            condition_specs(names, conditions[positions]),
            tuple(str(number) for number in range(classes)),
        )

    def _content(self, arrays: Arrays, split: str) -> StoredSplit | None:
        """The arrays of one split; None when it has no images."""
        key = _find(arrays, "images", split)
        if key is None and split == "train" and len(arrays) == 1:
            key = next(iter(arrays))
        if key is None:
            return None
        source = f"The array '{key}' of {self._path}"
        images = self._images(arrays[key], source)
        count = len(images)
        labels = _column(arrays, "labels", split, count, self._path)
        conditions = _column(arrays, "conditions", split, count, self._path)
        names_key = _find(arrays, "names", split)
        return StoredSplit(
            images,
            torch.full((count,), -1) if labels is None else torch.from_numpy(labels.astype(np.int64).reshape(count)),
            torch.empty(count, 0) if conditions is None else torch.from_numpy(conditions.astype(np.float32).reshape(count, -1)),
            bytes(arrays[names_key]).decode().split("\n") if names_key and self._packed else None,
        )

    def _images(self, array: NDArray[Any], source: str) -> Tensor:
        """An array of images as uint8 [N, C, H, W]; not copied if it has this format already."""
        if array.ndim not in (3, 4) or 0 in array.shape:
            hint = "Store [N, H, W], [N, C, H, W] or [N, H, W, C]."
            raise DataError(f"{source} has the shape {array.shape}, which is not a shape of images.", hint)
        if array.ndim == 3:
            array = array[:, None]
        elif self._packed is None:
            last = self._options.layout == "NHWC"
            if self._options.layout == "auto":
                last = channel_axis(array.shape[1:], source) == -1
            array = np.moveaxis(array, -1, 1) if last else array
        images = torch.from_numpy(np.ascontiguousarray(array if self._packed else to_bytes(array, source)))
        return _pad(with_kind(images, self._options.value_kind), self._options.pad_to_multiple)


def _find(arrays: Arrays, content: str, split: str) -> str | None:
    """The name of the array with this content of a split, or None."""
    return next((key for pattern in _PATTERNS[content] if (key := pattern.format(split)) in arrays), None)


def _column(arrays: Arrays, content: str, split: str, count: int, path: Path) -> NDArray[Any] | None:
    """Labels or conditions of a split, or None. Raises `DataError` unless there is one row per image."""
    key = _find(arrays, content, split)
    if key is None:
        return None
    values = arrays[key]
    if len(values) != count or values.dtype.kind not in "iufb" or (content == "labels" and values.size != count):
        hint = f"Store one row of numbers for each of the {count} images."
        raise DataError(f"The array '{key}' of {path} has the shape {values.shape} and type {values.dtype}.", hint)
    if content == "labels" and not (values.min() >= -1 and values.max() < MOST_CLASSES):
        given = f"{float(values.min()):g} to {float(values.max()):g}"
        raise DataError(
            f"The labels '{key}' of {path} run from {given}.", f"Number the classes 0 ... {MOST_CLASSES - 1}; -1 is none."
        )
    return values


def _refuse_options(options: ArrayDataset.Options, path: Path) -> None:
    """Raise `ConfigError` for a setting that is fixed by a packed file."""
    for name in ("layout", "components", "conditions", "value_kind", "pad_to_multiple", "validation_share"):
        if getattr(options, name) != type(options).model_fields[name].default:
            raise ConfigError(
                f"data.{name} cannot be changed: it is fixed by the packed file {path}.",
                "Prepare the file again with this setting.",
            )


def _pad(images: Tensor, multiple: int) -> Tensor:
    """Zero-pad images [N, C, H, W] on all sides until height and width are multiples of `multiple`."""
    height, width = -images.shape[2] % multiple, -images.shape[3] % multiple
    if not height and not width:
        return images
    return torch.nn.functional.pad(images, (width // 2, width - width // 2, height // 2, height - height // 2))
