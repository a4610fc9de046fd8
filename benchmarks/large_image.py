"""A large satellite-like image: `python benchmarks/large_image.py PATH [--size N] [--crops DIR]`.

A tiled TIFF of N x N pixels with five components of uint16 whose values depend on three fields of smooth noise; `near_infrared`
and `short_wave` follow, but for noise, from `blue`, `green` and `red`, so that a model can learn to fill them in.
It is written tile by tile, in little memory. `--crops`: also 512 x 512 crops of it, to train on.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
import torch
from numpy.typing import NDArray

from vqkit.image_io.rasters import Window, open_raster, write_raster

NAMES = ("blue", "green", "red", "near_infrared", "short_wave")
TILE = 256
CROP = 512
SPACINGS = (640, 160, 40, 10)
"""Pixels between the nodes of each octave of noise."""


class LargeImage:
    """The image, which is drawn window by window: `draw(top, left, height, width)`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._generator = torch.Generator().manual_seed(0)
        self._nodes = [[self._random(size // step + 2, size // step + 2) for step in SPACINGS] for _ in range(3)]

    def draw(self, top: int, left: int, height: int, width: int) -> NDArray[np.uint16]:
        """Five components of a window, uint16 [5, height, width], with new noise."""
        relief, growth, water = (self._field(nodes, top, left, height, width) for nodes in self._nodes)
        growth, water = _sharpened(growth, 0.5), _sharpened(water, 0.68)
        blue = 400 + 1500 * relief + 300 * water
        green = 500 + 1800 * relief + 700 * growth
        red = 350 + 2300 * relief * (1 - 0.6 * growth)
        near_infrared = 700 + (1200 * relief + 3200 * growth) * (1 - 0.9 * water)
        short_wave = 300 + 2600 * np.sqrt(relief) * (1 - 0.5 * growth) * (1 - 0.8 * water)
        values = np.stack([blue, green, red, near_infrared, short_wave])
        noise = torch.randn(values.shape, generator=self._generator).numpy()
        return (values + 12 * noise).round().astype(np.uint16)

    def _random(self, *shape: int) -> NDArray[np.float32]:
        values: NDArray[np.float32] = torch.rand(shape, generator=self._generator).numpy()
        return values

    def tiles(self) -> Iterator[NDArray[np.uint16]]:
        """The tiles of a TIFF in the order in which it holds them: all components of a tile side by side, [TILE, TILE, 5]."""
        for top in range(0, self.size, TILE):
            for left in range(0, self.size, TILE):
                yield np.ascontiguousarray(np.moveaxis(self.draw(top, left, TILE, TILE), 0, -1))

    def _field(self, nodes: list[NDArray[np.float32]], top: int, left: int, height: int, width: int) -> NDArray[np.float32]:
        """Noise from 0 to 1, whose octaves halve in strength."""
        total = np.zeros((height, width), np.float32)
        for number, (step, grid) in enumerate(zip(SPACINGS, nodes, strict=True)):
            rows, down = _place(top, height, step, len(grid))
            columns, across = _place(left, width, step, len(grid))
            upper, lower = grid[rows][:, columns], grid[rows + 1][:, columns]
            upper_right, lower_right = grid[rows][:, columns + 1], grid[rows + 1][:, columns + 1]
            first = upper + (lower - upper) * down[:, None]
            second = upper_right + (lower_right - upper_right) * down[:, None]
            total += (first + (second - first) * across) / 2**number
        return total / np.float32(2 - 2.0 ** (1 - len(SPACINGS)))


def _place(start: int, count: int, step: int, nodes: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nodes before `count` pixels from `start`, and how far each pixel is towards the next one, smoothed."""
    position = np.arange(start, start + count) / step
    before = np.minimum(position.astype(np.int64), nodes - 2)
    between = (position - before).astype(np.float32).clip(0, 1)
    return before, between * between * (3 - 2 * between)


def _sharpened(field: NDArray[np.float32], middle: float) -> NDArray[np.float32]:
    """A field with borders: near 0 below the middle, near 1 above."""
    return np.float32(1) / (1 + np.exp(np.float32(-30) * (field - np.float32(middle))))


def write(path: Path, image: LargeImage) -> None:
    """The image as a BigTIFF, tiled and not compressed."""
    tifffile.imwrite(
        path,
        image.tiles(),
        shape=(image.size, image.size, len(NAMES)),
        dtype=np.uint16,
        tile=(TILE, TILE),
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unspecified"] * (len(NAMES) - 1),
        bigtiff=True,
        metadata={"names": NAMES},
    )


def write_crops(directory: Path, path: Path) -> None:
    """Crops evenly over the image in a file."""
    directory.mkdir(parents=True, exist_ok=True)
    with open_raster(path) as raster:
        size = raster.info.height
        starts = range(0, size - CROP + 1, max(CROP, size // 8))
        for top, left in itertools.product(starts, starts):
            values = raster.read(Window(top, left, CROP, CROP)).values
            write_raster(directory / f"crop_{top:05d}_{left:05d}.tif", values, like=raster.info)


def main() -> None:
    """Parse the arguments, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, default=20_000)
    parser.add_argument("--crops", type=Path)
    arguments = parser.parse_args()
    image = LargeImage(arguments.size)
    arguments.path.parent.mkdir(parents=True, exist_ok=True)
    write(arguments.path, image)
    if arguments.crops is not None:
        write_crops(arguments.crops, arguments.path)


if __name__ == "__main__":
    main()
