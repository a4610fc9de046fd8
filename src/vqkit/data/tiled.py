"""A split whose images are tiles: at random places of larger images in training, side by side otherwise; or whole images."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.data.arranging import ImageFiles
from vqkit.data.augmentation import Augmentation
from vqkit.data.describing import SampledKindChoice, thresholded
from vqkit.data.image_reading import ImagePixels, ImageReader
from vqkit.errors import DataError
from vqkit.image_io.files import quiet_pillow
from vqkit.image_io.rasters import Window
from vqkit.interfaces import Batch, DataSpec, Split

_TRIES = 8
"""Places that are drawn for a tile; the first at which there are any data is taken."""


class ImageSource(ABC):
    """Images from which tiles are cut."""

    in_memory: bool

    @property
    @abstractmethod
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image."""

    @abstractmethod
    def read(self, number: int, window: Window) -> ImagePixels:
        """A part of an image. Raises `DataError` if its file is damaged."""


class MemorySource(ImageSource):
    """Images in memory."""

    in_memory = True

    def __init__(self, images: Sequence[ImagePixels]) -> None:
        self._images = images

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """See `ImageSource.sizes`."""
        return [(image.values.shape[1], image.values.shape[2]) for image in self._images]

    def read(self, number: int, window: Window) -> ImagePixels:
        """See `ImageSource.read`."""
        return self._images[number].cut(window)


class FileSource(ImageSource):
    """Images that are read from their files, by windows, when they are asked for."""

    in_memory = False

    def __init__(self, reader: ImageReader, images: Sequence[ImageFiles]) -> None:
        self._reader, self._images = reader, images

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """See `ImageSource.sizes`."""
        return [self._reader.size(image) for image in self._images]

    def read(self, number: int, window: Window) -> ImagePixels:
        """See `ImageSource.read`."""
        return self._reader.read(self._images[number], window)


class ImageFacts(NamedTuple):
    """Of each image of a source: its name, its conditions float32 [N, D], and its class int64 [N], -1: none."""

    names: list[str]
    conditions: Tensor
    labels: Tensor


class TiledSplit(Split):
    """Tiles of the size of the specification. A damaged image is replaced by the next readable one, with a warning.

    `moves`: whether tiles lie at random places, drawn anew in each epoch; `has_gaps`: whether any pixel may be absent, so that
    batches say which are present; `kind`: see `describing.thresholded`.
    """

    def __init__(
        self,
        spec: DataSpec,
        source: ImageSource,
        facts: ImageFacts,
        *,
        moves: bool = False,
        has_gaps: bool = False,
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - immutable
        kind: SampledKindChoice = "auto",
    ) -> None:
        super().__init__(spec)
        augmentation.check(spec)
        self._source, self._facts, self._augmentation, self._kind = source, facts, augmentation, kind
        self._has_gaps = has_gaps
        self._dtype = spec.stored_dtype
        self._sizes = torch.tensor(source.sizes)
        tile = spec.height, spec.width
        corners = [_corners(size, tile, moves) for size in source.sizes]
        self._moves = moves and any(size != tile for size in source.sizes)
        self._owners = torch.tensor([number for number, each in enumerate(corners) for _ in each])
        self._numbers = [place + 1 if len(each) > 1 else 0 for each in corners for place in range(len(each))]
        self._corners = torch.tensor([corner for each in corners for corner in each])[:, None]
        if self._moves:
            self._corners = self._drawn(0)

    @property
    def in_memory(self) -> bool:
        """As its source."""
        return self._source.in_memory

    def __len__(self) -> int:
        return len(self._owners)

    def epoch(self, number: int) -> Split:
        """See `Split.epoch`: the same images, with tiles at other places."""
        if not self._moves:
            return self
        moved = copy.copy(self)
        moved._corners = self._drawn(number)
        return moved

    def at_rest(self, whole: bool = True) -> TiledSplit:
        """The same images with nothing random: whole, if that is asked for and all have one size, else as tiles side by side."""
        sizes = set(self._source.sizes)
        height, width = sizes.pop() if whole and len(sizes) == 1 else (self.spec.height, self.spec.width)
        spec = replace(self.spec, height=height, width=width)
        return TiledSplit(spec, self._source, self._facts, has_gaps=self._has_gaps, kind=self._kind)

    def batch(self, indices: Tensor) -> Batch:
        """The tiles at `indices` (int64 [B]), as stored values."""
        shape = len(indices), len(self.spec.components), self.spec.height, self.spec.width
        images = torch.zeros(shape, dtype=self._dtype)
        present = torch.ones(shape, dtype=torch.bool) if self._has_gaps else None
        owners = []
        with quiet_pillow():
            for place, index in enumerate(indices.tolist()):
                owner, pixels = self._readable(index)
                owners.append(owner)
                images[place].numpy()[...] = pixels.values
                if present is not None and pixels.present is not None:
                    present[place].numpy()[...] = pixels.present
        images = thresholded(images, self.spec.component_specs, self._kind)
        chosen = torch.tensor(owners, dtype=torch.int64)
        return Batch(images, self._facts.conditions[chosen], self._facts.labels[chosen], present=present)

    def names(self, indices: Tensor) -> list[str]:
        """The name of the image, and which tile of several it is."""
        return [
            f"{self._facts.names[owner]}_tile{self._numbers[index]}" if self._numbers[index] else self._facts.names[owner]
            for index, owner in zip(indices.tolist(), self._owners[indices].tolist(), strict=True)
        ]

    def augment(self, batch: Batch, generator: torch.Generator) -> Batch:
        """See `Augmentation`."""
        return self._augmentation.apply(batch, generator)

    def _drawn(self, epoch: int) -> Tensor:
        """Corners at random, int64 [N, T, 2]: a function of the epoch and of the position in the split."""
        room = self._sizes[self._owners][:, None] - torch.tensor([self.spec.height, self.spec.width]) + 1
        drawn = torch.rand(len(self), _TRIES, 2, dtype=torch.float64, generator=generator_for("crop", epoch))
        return (drawn * room).long()

    def _readable(self, index: int) -> tuple[int, ImagePixels]:
        """The image and the pixels of the first tile from `index` on that can be read."""
        for further in range(len(self)):
            position = (index + further) % len(self)
            owner = int(self._owners[position])
            try:
                return owner, self._tile(owner, self._corners[position].tolist())
            except DataError as error:
                warnings.warn(f"{error.message} It is replaced by another one.", stacklevel=2)
        raise DataError(f"None of the {len(self._facts.names)} images can be read.", "Check that they are not damaged.")

    def _tile(self, owner: int, corners: list[list[int]]) -> ImagePixels:
        for number, (top, left) in enumerate(corners):
            pixels = self._source.read(owner, Window(top, left, self.spec.height, self.spec.width))
            if pixels.present is None or number == len(corners) - 1 or pixels.present.any():
                break
        return pixels


def _corners(size: tuple[int, int], tile: tuple[int, int], moves: bool) -> list[tuple[int, int]]:
    """The upper left corners of the tiles of an image: side by side, the last ones at the border.

    If they are going to be moved, there are as many as fit into its area.
    """
    if moves:
        return [(0, 0)] * max(1, size[0] * size[1] // (tile[0] * tile[1]))
    rows, columns = ([*range(0, length - side, side), length - side] for length, side in zip(size, tile, strict=True))
    return [(top, left) for top in rows for left in columns]


def is_empty(pixels: ImagePixels) -> bool:
    """Whether nothing of an image is present."""
    return pixels.present is not None and not bool(np.any(pixels.present))
