"""Filling in images larger than the model's tile: tile by tile, blended where tiles overlap (`vqkit.inference.tile_grid`).

`fill_images` does so for images in memory, `fill_rows` for one image of any height, in memory that does not grow with it. Blending
is of expected values; discretise what comes out, not what goes in. Tiles in which nothing is wanted are skipped. A tile in which
nothing is observed is filled in like every other one: the model is asked what such images hold when nothing is known of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.inference.tile_grid import TileGrid

FillTiles = Callable[[Tensor, Tensor, Tensor], Tensor]
"""A model: from tiles as stored [N, C, h, w], where they are observed (bool, the same shape) and the number of the image that each
is from (int64 [N]), to expected values, float32 [N, C, h, w] on the CPU."""


class ImageRows(NamedTuple):
    """Some rows of an image as wide as it is.

    `images` as stored [C, R, W]; `observed` bool [C, R, W]: what the model may look at; `wanted` bool [C, R, W]: what is to be
    filled in.
    """

    images: Tensor
    observed: Tensor
    wanted: Tensor

    def cut(self, start: int, stop: int | None = None) -> ImageRows:
        """The rows `start` to `stop`."""
        return ImageRows(*(tensor[:, start:stop] for tensor in self))

    def followed_by(self, below: ImageRows) -> ImageRows:
        """These rows and those below them."""
        return ImageRows(*(torch.cat(pair, dim=1) for pair in zip(self, below, strict=True)))


class FilledRows(NamedTuple):
    """Rows `top` and following of a filled-in image: expected values float32 [C, R, W], valid where they were wanted, and the rows
    as they were given."""

    top: int
    expected: Tensor
    given: ImageRows


ReadRows = Callable[[int, int], ImageRows]
"""Reads rows of an image: from the first one and their number. Called from top to bottom, and once for every row."""


def fill_rows(read: ReadRows, fill: FillTiles, grid: TileGrid, batch_size: int) -> Iterator[FilledRows]:
    """Fill in one image from top to bottom, yielding rows as soon as no tile will change them any more; every row once.

    Held at a time: the rows of one row of tiles, and `batch_size` tiles. Raises what `read` and `fill` raise.
    """
    held: ImageRows | None = None
    expected = torch.empty(0)
    for number, top in enumerate(grid.tops):
        start = 0 if held is None else top + held.images.shape[1]
        stop = min(top + grid.tile_height, grid.height)
        fresh = read(start, stop - start)
        held = fresh if held is None else held.followed_by(fresh)
        channels, rows, width = held.images.shape
        kept = expected
        expected = torch.zeros(channels, rows, width)
        if number:
            expected[:, : kept.shape[1]] = kept
        _add_row_of_tiles(expected, held, fill, grid, number, batch_size)
        final = (grid.tops[number + 1] if number + 1 < len(grid.tops) else grid.height) - top
        yield FilledRows(top, expected[:, :final], held.cut(0, final))
        held, expected = held.cut(final), expected[:, final:]


def fill_images(images: Tensor, observed: Tensor, wanted: Tensor, fill: FillTiles, grid: TileGrid, batch_size: int) -> Tensor:
    """Expected values float32 [B, C, H, W] of images in memory, valid where they are wanted; tiles of all images share batches.

    `images` as stored [B, C, H, W]; `observed` and `wanted` bool [B, C, H, W]. Raises what `fill` raises.
    """
    expected = torch.zeros(images.shape)
    if images.shape[2:] == (grid.tile_height, grid.tile_width):
        # Each image is a tile: nothing is to be cut or blended.
        for numbers in torch.split(wanted.flatten(1).any(dim=1).nonzero().flatten(), batch_size):
            if len(numbers):
                expected[numbers] = fill(images[numbers], observed[numbers], numbers)
        return expected
    places = [
        (image, row, column)
        for image in range(len(images))
        for row, top in enumerate(grid.tops)
        for column, left in enumerate(grid.lefts)
        if bool(wanted[image, :, top : top + grid.tile_height, left : left + grid.tile_width].any())
    ]
    for start in range(0, len(places), batch_size):
        batch = places[start : start + batch_size]
        tiles = [
            (cut_tile(images[image], grid, row, column), cut_tile(observed[image], grid, row, column))
            for image, row, column in batch
        ]
        numbers = torch.tensor([image for image, _, _ in batch])
        filled = fill(torch.stack([tile for tile, _ in tiles]), torch.stack([known for _, known in tiles]), numbers)
        for tile, (image, row, column) in zip(filled, batch, strict=True):
            place = expected[image, :, grid.tops[row] :, grid.lefts[column] :]
            add_tile(place, tile, grid.weights(row, column))
    return expected


def cut_tile(images: Tensor, grid: TileGrid, row: int, column: int) -> Tensor:
    """One tile [..., tile_height, tile_width] of images [..., H, W]: zeros, or False, beyond the border of a smaller image."""
    return _first_tile(images[..., grid.tops[row] :, grid.lefts[column] :], grid)


def _first_tile(images: Tensor, grid: TileGrid) -> Tensor:
    """The first tile of images, with zeros where they are smaller than a tile."""
    part = images[..., : grid.tile_height, : grid.tile_width]
    height, width = part.shape[-2:]
    if (height, width) == (grid.tile_height, grid.tile_width):
        return part
    tile = images.new_zeros(*images.shape[:-2], grid.tile_height, grid.tile_width)
    tile[..., :height, :width] = part
    return tile


def _add_row_of_tiles(expected: Tensor, held: ImageRows, fill: FillTiles, grid: TileGrid, row: int, batch_size: int) -> None:
    """Add the weighted results of one row of tiles to the rows that it covers."""
    columns = [column for column, left in enumerate(grid.lefts) if bool(held.wanted[:, :, left : left + grid.tile_width].any())]
    for start in range(0, len(columns), batch_size):
        batch = columns[start : start + batch_size]
        images, observed = (
            torch.stack([_first_tile(rows[:, :, grid.lefts[column] :], grid) for column in batch])
            for rows in (held.images, held.observed)
        )
        for tile, column in zip(fill(images, observed, torch.zeros(len(batch), dtype=torch.int64)), batch, strict=True):
            add_tile(expected[:, :, grid.lefts[column] :], tile, grid.weights(row, column))


def add_tile(place: Tensor, tile: Tensor, weights: Tensor) -> None:
    """Add a weighted tile to the top left of `place` [C, H, W], without what is beyond it."""
    height, width = min(tile.shape[1], place.shape[1]), min(tile.shape[2], place.shape[2])
    place[:, :height, :width] += (tile * weights)[:, :height, :width]
