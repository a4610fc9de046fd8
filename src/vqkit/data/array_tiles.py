"""Tiles of images in arrays: which size they have, and parts of images that are read where the array lies on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.data.array_contents import StoredImages
from vqkit.data.fitting import LARGEST_WHOLE, tile_side
from vqkit.data.image_reading import ImagePixels
from vqkit.data.rows import Rows, cut_row
from vqkit.data.tiled import ImageSource
from vqkit.errors import DataError
from vqkit.image_io.rasters import Window


class ArrayTile(NamedTuple):
    """Height and width that a model sees of the images in an array, and a sentence on it, if it was chosen for the user."""

    height: int
    width: int
    note: str = ""


def choose_array_tile(images: Mapping[str, StoredImages], height: int | None, width: int | None, path: Path) -> ArrayTile:
    """The tile of images [N, C, H, W] of each split: what is set, where one of height and width is both, or the whole images.

    Measurements, which is to say other types than uint8, are cut into tiles unasked if they are large, as those in files are.
    Raises `DataError` for images that are smaller than the tile, and for splits of several sizes where none is set.
    """
    sizes = {name: (each.shape[2], each.shape[3]) for name, each in images.items()}
    name, (rows, columns) = min(sizes.items(), key=lambda item: item[1])
    height, width = height or width, width or height
    if height is None or width is None:
        is_large = max(rows, columns) > LARGEST_WHOLE and next(iter(images.values())).dtype != torch.uint8
        if not is_large and len(set(sizes.values())) > 1:
            given = ", ".join(f"{split} {size[0]} x {size[1]}" for split, size in sizes.items())
            raise DataError(
                f"The images of the splits of {path} have different sizes (height x width): {given}.",
                "Store all with one size, or set data.height and data.width: tiles of that size are then cut out of them.",
            )
        if not is_large:
            return ArrayTile(rows, columns)
        height, width = tile_side(rows), tile_side(columns)
        seen = f"the model sees tiles of {height} x {width} (height x width)"
        return ArrayTile(
            height,
            width,
            f"The images in {path} are {rows} x {columns}; {seen}. Choose another size with data.height and data.width.",
        )
    for name, (rows, columns) in sizes.items():
        if rows < height or columns < width:
            raise DataError(
                f"The images for {name} of {path} are {rows} x {columns} (height x width), smaller than the tile, "
                f"{height} x {width}.",
                f"Set data.height to at most {rows} and data.width to at most {columns}.",
            )
    return ArrayTile(height, width)


class ArraySource(ImageSource):
    """Images of an array [N, C, H, W] at `positions` (int64), and rows of what is present of them, or None."""

    in_memory = True

    def __init__(self, images: StoredImages, positions: Tensor, present: Rows | None) -> None:
        self._images, self._positions, self._present = images, positions.tolist(), present

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """See `ImageSource.sizes`."""
        return [(self._images.shape[2], self._images.shape[3])] * len(self._positions)

    def read(self, number: int, window: Window) -> ImagePixels:
        """See `ImageSource.read`."""
        position = self._positions[number]
        values = cut_row(self._images, position, window)
        present = None if self._present is None else cut_row(self._present, position, window)
        return ImagePixels(values.numpy(), None if present is None else present.numpy())
