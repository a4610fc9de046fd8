"""Splits that are held in memory, and the statistics that describe a data set's conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vqkit.interfaces import Batch, ConditionSpec, DataSpec, Split


class ArraySplit(Split):
    """Images held as one array (in memory, or a memory-mapped file).

    `images` uint8 [N, C, H, W]; `conditions` float32 [N, D], NaN where unknown; `labels` int64 [N], -1 where there is no class;
    `names`: one for each image, or None for their numbers; `flip`: whether `augment` mirrors half of the images left to right.
    """

    in_memory: ClassVar[bool] = True

    def __init__(
        self,
        spec: DataSpec,
        images: Tensor,
        conditions: Tensor | None = None,
        labels: Tensor | None = None,
        names: Sequence[str] | None = None,
        flip: bool = False,
    ) -> None:
        super().__init__(spec)
        count = len(images)
        self._images = images
        self._conditions = torch.empty(count, 0) if conditions is None else conditions
        self._labels = torch.full((count,), -1) if labels is None else labels
        self._names = names
        self._flip = flip

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64 [B]), as uint8."""
        return Batch(self._images[indices], self._conditions[indices], self._labels[indices])

    def names(self, indices: Tensor) -> list[str]:
        """The name of each image, or its number."""
        return [f"{index:06d}" if self._names is None else self._names[index] for index in indices.tolist()]

    def augment(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Half of the images mirrored left to right, where the data set allows it."""
        return random_flip(images, generator) if self._flip else images


class LabelMapSplit(Split):
    """Exclusive binary components held as one label map an image, which takes C times less memory.

    `label_maps` uint8 [N, H, W]: 0 where nothing is, k + 1 where component k is; `conditions` float32 [N, D];
    `prefix`: what the images' names begin with.
    """

    in_memory: ClassVar[bool] = True

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


def one_hot_images(label_maps: Tensor, components: int) -> Tensor:
    """Label maps uint8 [B, H, W] (0: nothing) as images uint8 [B, C, H, W] of 0 and 255."""
    values = torch.arange(1, components + 1, dtype=torch.uint8)
    return (label_maps[:, None] == values[None, :, None, None]).to(torch.uint8).mul_(255)


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image [B, C, H, W] mirrored left to right with probability one half."""
    flipped = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(-1), images)


def condition_specs(names: Sequence[str], values: Tensor) -> tuple[ConditionSpec, ...]:
    """Range, mean and deviation of each condition over the training values [N, D], NaN left out."""
    specs = []
    for name, column in zip(names, values.to(torch.float64).T, strict=True):
        known = column[~column.isnan()]
        if not len(known):
            specs.append(ConditionSpec(name, 0.0, 1.0, 0.0, 1.0))
            continue
        # A constant condition carries nothing; deviation 1 keeps its normalised value at 0 instead of 0 / 0.
        deviation = float(known.std(unbiased=False)) or 1.0
        specs.append(ConditionSpec(name, float(known.min()), float(known.max()), float(known.mean()), deviation))
    return tuple(specs)


def hold_out(count: int, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions 0 ... count - 1 as (training, validation), both sorted: a fixed random `share` validates, at least one if it can."""
    held = min(max(1, round(count * share)), count - 1) if share > 0 else 0
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[held:].sort().values, order[:held].sort().values
