"""The values of training images, counted in memory or file by file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.data.arranging import ImageFiles, Part
from vqkit.data.describing import TrainingValues
from vqkit.data.image_reading import ImagePixels, ImageReader
from vqkit.data.loaded import LoadedImages, map_ahead
from vqkit.image_io.rasters import Window

_ROWS = 64
"""Images in memory that are counted at once."""
_BLOCK_BYTES = 2**23
"""Pixels of a file that are read at once."""


class _Block(NamedTuple):
    """Rows of an image; or of one of its components, where they differ in resolution."""

    image: ImageFiles
    window: Window
    number: int | None = None
    part: Part | None = None


def measure_loaded(loaded: LoadedImages, positions: Tensor, dtypes: Sequence[str]) -> TrainingValues:
    """The values of images in memory, at the size at which they were read."""
    values = TrainingValues(dtypes)
    if isinstance(loaded.images, list):
        for number in positions.tolist():
            _add(values, loaded.images[number])
        return values
    for indices in torch.split(positions, _ROWS):
        values.add(loaded.images[indices], None if loaded.present is None else loaded.present[indices])
    return values


def measure_files(reader: ImageReader, images: Sequence[ImageFiles], dtypes: Sequence[str]) -> TrainingValues:
    """The values in files, each component at its own resolution. Files that cannot be read say nothing.

    Reading ends as soon as no further image can change anything.
    """

    def read(block: _Block) -> ImagePixels:
        if block.part is None or block.number is None:
            return reader.read(block.image, block.window)
        return ImagePixels(*reader.read_component(block.part, block.number, block.window))

    values = TrainingValues(dtypes)
    blocks = [block for image in images for block in _blocks(image, reader.dtype.itemsize)]
    for block, pixels in zip(blocks, map_ahead(read, blocks), strict=True):
        if isinstance(pixels, ImagePixels):
            if block.number is None:
                _add(values, pixels)
            else:
                values.add_component(block.number, *pixels)
        if values.is_settled:
            break
    return values


def _add(values: TrainingValues, pixels: ImagePixels) -> None:
    present = None if pixels.present is None else torch.from_numpy(pixels.present)[None]
    values.add(torch.from_numpy(pixels.values)[None], present)


def _blocks(image: ImageFiles, itemsize: int) -> Iterator[_Block]:
    """All rows of an image, a few megabytes at a time."""
    if not image.is_resampled:
        for window in _strips(*image.size, len(image.parts) * itemsize):
            yield _Block(image, window)
        return
    for number, part in enumerate(image.parts):
        if part is not None:
            for window in _strips(part.header.form.height, part.header.form.width, itemsize):
                yield _Block(image, window, number, part)


def _strips(height: int, width: int, pixel_bytes: int) -> Iterator[Window]:
    rows = max(1, _BLOCK_BYTES // (width * pixel_bytes))
    for top in range(0, height, rows):
        yield Window(top, 0, min(rows, height - top), width)
