"""The images of one folder, read into memory by several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from vqkit.core.cpus import usable_cpus
from vqkit.data.arranging import ImageFiles
from vqkit.data.image_reading import ImagePixels, ImageReader, Mask
from vqkit.errors import DataError
from vqkit.image_io.files import quiet_pillow

_THREADS = min(8, 2 * usable_cpus())
_AHEAD = 32
"""Items that are read before those in front of them are used."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class LoadedImages(NamedTuple):
    """Images in memory: of one size, `images` [N, C, H, W] and `present` (bool [N, C, H, W] or [N, C, 1, 1]; None: everywhere); or
    of several sizes, a list. `errors`: what is wrong with those that could not be read; `empty`: numbers of those without any data;
    `gaps`: of those with some pixels that are absent.
    """

    images: Tensor | list[ImagePixels]
    present: Tensor | None
    errors: dict[int, DataError]
    empty: list[int]
    gaps: list[int]

    @property
    def usable(self) -> Tensor:
        """Whether each image can be used, bool [N]."""
        usable = torch.ones(len(self.images), dtype=torch.bool)
        usable[[*self.errors, *self.empty]] = False
        return usable

    def pixels(self, number: int) -> ImagePixels:
        """One of the images."""
        if isinstance(self.images, list):
            return self.images[number]
        present = None if self.present is None else self.present[number].numpy()
        return ImagePixels(self.images[number].numpy(), None if present is None or present.all() else present)


def load(reader: ImageReader, images: Sequence[ImageFiles]) -> LoadedImages:
    """Read all images. Those that cannot be read are zero."""
    sizes = {reader.size(image) for image in images}
    return _load_equal(reader, images, *sizes.pop()) if len(sizes) == 1 else _load_unequal(reader, images)


def map_ahead(read: Callable[[Item], Result], items: Sequence[Item], threads: int = _THREADS) -> Iterator[Result | DataError]:
    """What `read` makes of each item, in order, or the `DataError` that it raises; several threads are a few items ahead."""

    def attempt(item: Item) -> Result | DataError:
        try:
            return read(item)
        except DataError as error:
            return error

    if threads == 1:
        yield from map(attempt, items)
        return
    with quiet_pillow(), ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), _AHEAD):
            yield from pool.map(attempt, items[start : start + _AHEAD])


def _read_all(reader: ImageReader, images: Sequence[ImageFiles]) -> Iterator[ImagePixels | DataError]:
    return map_ahead(reader.read, images, 1 if reader.holds_all(images) else _THREADS)


def _load_equal(reader: ImageReader, images: Sequence[ImageFiles], height: int, width: int) -> LoadedImages:
    shape = len(images), len(images[0].parts), height, width
    # Made by NumPy, because torch cannot write into parts of unsigned types of 16 bits and more.
    values = np.zeros(shape, reader.dtype)
    masks: dict[int, Mask] = {}
    errors: dict[int, DataError] = {}
    for number, pixels in enumerate(_read_all(reader, images)):
        if isinstance(pixels, DataError):
            errors[number] = pixels
            continue
        values[number] = pixels.values
        if pixels.present is not None:
            masks[number] = pixels.present
    return LoadedImages(torch.from_numpy(values), _stacked(masks, shape), errors, *_empty_and_gaps(masks))


def _empty_and_gaps(masks: dict[int, Mask]) -> tuple[list[int], list[int]]:
    """Numbers of the images without any data, and of those that lack some pixels, by what is present of those with gaps."""
    empty = [number for number, mask in masks.items() if not mask.any()]
    return empty, [number for number, mask in masks.items() if mask.shape[1:] != (1, 1) and mask.any()]


def _stacked(masks: dict[int, Mask], shape: tuple[int, int, int, int]) -> Tensor | None:
    """What is present of all images, from that of those with gaps; per component if all gaps are whole components."""
    if not masks:
        return None
    whole = all(mask.shape[1:] == (1, 1) for mask in masks.values())
    present = np.ones((*shape[:2], 1, 1) if whole else shape, np.bool_)
    for number, mask in masks.items():
        present[number] = mask
    return torch.from_numpy(present)


def _load_unequal(reader: ImageReader, images: Sequence[ImageFiles]) -> LoadedImages:
    found = list(_read_all(reader, images))
    errors = {number: pixels for number, pixels in enumerate(found) if isinstance(pixels, DataError)}
    nothing = ImagePixels(np.zeros((len(images[0].parts), 1, 1), reader.dtype))
    usable = [nothing if isinstance(pixels, DataError) else pixels for pixels in found]
    masks = {number: pixels.present for number, pixels in enumerate(usable) if pixels.present is not None}
    return LoadedImages(usable, None, errors, *_empty_and_gaps(masks))
