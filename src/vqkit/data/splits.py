"""Splits in memory, the assignment of images to splits, and statistics of conditions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from vqkit.data.augmentation import Augmentation
from vqkit.data.rows import Rows
from vqkit.errors import DataError
from vqkit.image_io.values import one_hot_images
from vqkit.interfaces import SPLITS, Batch, ConditionSpec, DataSpec, Split


class ArraySplit(Split):
    """Images stored as one array, in memory or memory-mapped.

    `images` [N, C, H, W]: stored values; `conditions` float32 [N, D], NaN where unknown; `labels` int64 [N], -1 where there is no
    class; `names`: one for each image, or None for their numbers; `present` bool [N, C or 1, H or 1, W or 1]: where there are data,
    or None: everywhere.
    """

    in_memory = True

    def __init__(
        self,
        spec: DataSpec,
        images: Rows,
        conditions: Tensor | None = None,
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - immutable
        present: Rows | None = None,
    ) -> None:
        super().__init__(spec)
        augmentation.check(spec)
        count = len(images)
        self._images = images
        self._conditions = torch.empty(count, 0) if conditions is None else conditions
        self._labels = torch.full((count,), -1) if labels is None else labels
        self._names = names
        self._augmentation = augmentation
        self._present = present

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64 [B]), as stored values."""
        present = None if self._present is None else self._present[indices]
        return Batch(self._images[indices].contiguous(), self._conditions[indices], self._labels[indices], present=present)

    def names(self, indices: Tensor) -> list[str]:
        """The name of each image, or its number."""
        return [f"{index:06d}" if self._names is None else self._names[index] for index in indices.tolist()]

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """See `Augmentation`."""
        return self._augmentation.apply(batch, generator)


class LabelMapSplit(Split):
    """Exclusive binary components stored as one label map per image, which takes C times less memory.

    `label_maps` uint8 [N, H, W]: 0 for background, k + 1 for component k; `conditions` float32 [N, D];
    `prefix`: prefix of the images' names.
    """

    in_memory = True

    def __init__(self, spec: DataSpec, label_maps: Tensor, conditions: Tensor, prefix: str) -> None:
        super().__init__(spec)
        self._label_maps = label_maps
        self._conditions = conditions
        self._prefix = prefix

    def __len__(self) -> int:
        return len(self._label_maps)

    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64 [B]), as uint8 0 or 255."""
        images = one_hot_images(self._label_maps[indices], len(self.spec.components))
        return Batch(images, self._conditions[indices], torch.full((len(indices),), -1))

    def names(self, indices: Tensor) -> list[str]:
        """The prefix and the number of each image."""
        return [f"{self._prefix}_{index:05d}" for index in indices.tolist()]


def condition_specs(names: Sequence[str], values: Tensor) -> tuple[ConditionSpec, ...]:
    """Range, mean and standard deviation of each condition over the training values [N, D], ignoring NaN."""
    specs = []
    for name, column in zip(names, values.to(torch.float64).T, strict=True):
        known = column[~column.isnan()]
        if not len(known):
            specs.append(ConditionSpec(name, 0.0, 1.0, 0.0, 1.0))
            continue
        # For a constant condition, a standard deviation of 1 keeps the normalised value at 0 instead of 0 / 0.
        std = float(known.std(unbiased=False)) or 1.0
        specs.append(ConditionSpec(name, float(known.min()), float(known.max()), float(known.mean()), std))
    return tuple(specs)


def hold_out(count: int, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions 0 ... count - 1 as (training, validation), both sorted; a fixed random `share` validates, at least one."""
    held = min(max(1, round(count * share)), max(0, count - 1))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[held:].sort().values, order[:held].sort().values


ValidationShare = Annotated[
    float,
    Field(gt=0, lt=1, description="Share of the training images held out for validation if the data set has no validation images."),
]
"""The setting `validation_share` of data sets with a `SplitPlan`."""


class SplitPlan:
    """Assigns images of folders to splits.

    `counts`: images in each of the folders train, val and test that exist. Without validation images, a fixed random share
    of the training images is held out; without test images, the validation images are used in their place, with a warning.
    """

    def __init__(self, counts: Mapping[str, int], validation_share: float, source: object) -> None:
        self._counts, self._share, self._source = counts, validation_share, source

    def of(self, name: str) -> tuple[str, Tensor]:
        """The folder and the positions in it (int64) of one split. Raises `DataError` when it is empty."""
        count = self._counts.get(name, 0)
        if name == "test" and not count:
            warnings.warn(f"{self._source} has no test images; its validation images are used instead.", stacklevel=3)
            return self.of("val")
        if name == "val" and not count:
            folder, positions = "train", self._held_out()[1]
        elif name == "train" and not self._counts.get("val", 0):
            folder, positions = "train", self._held_out()[0]
        else:
            folder, positions = name, torch.arange(count)
        if not len(positions):
            raise DataError(f"{self._source} has no images for {name}.", self._hint(name))
        return folder, positions

    def _hint(self, name: str) -> str:
        """What to do about a split that is empty."""
        if name == "test":
            return "Choose another split."
        others = [split for split in SPLITS if self._counts.get(split, 0)]
        if others and "train" not in others:
            return f"All of them are for {' and '.join(others)}, by their names: choose that split, or name them differently."
        return "Training needs at least two images: one of them is held out for validation."

    def describing(self) -> tuple[str, Tensor]:
        """The folder and the positions in it of the images that determine the specification: the training images, if there are any.

        Raises `DataError` when there are no images at all.
        """
        present = [name for name in SPLITS if self._counts.get(name, 0)]
        return self.of(present[0] if present else "train")

    def _held_out(self) -> tuple[Tensor, Tensor]:
        return hold_out(self._counts.get("train", 0), self._share)
