"""One grid of codes for an image larger than the model's tile, and the windows of it that tiles see.

Tiles begin at multiples of the stride of the coarsest level, so that every code of the image stands for the same pixels in all
tiles that cover it. To the right and below, the image is padded to whole codes, with pixels of which nothing is known.

A tile is active if something is wanted in it. The codes of all active tiles are needed. Each belongs to the active tile in whose
middle it lies the most: that tile draws it, given all codes of its window that are known by then.

Shapes: A answers, H x W codes of a level in the image, h x w in a tile, T tiles, numbered in rows from the top left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqkit.inference.pipeline import BATCH_SIZE
from vqkit.inference.tile_grid import TileGrid
from vqkit.inference.tiling import add_tile, cut_tile
from vqkit.interfaces import Codes

NOBODY = -1
"""The owner of codes that are not needed."""

DecodeTiles = Callable[[Codes, Sequence[int], Sequence[int]], Tensor]
"""Expected values [tiles, C, h, w] of codes [tiles, h, w] of each level, and the numbers of their images and tiles."""


class CodeWindows:
    """The tiles of an image of `height` x `width` pixels, and their windows on the codes of each level, coarse first.

    `tile` (height, width) in pixels; `shapes` (h, w) of the codes of a tile; `overlap`: pixels that tiles share at least, rounded
    down to whole codes of the coarsest level. `tiles`: their places in the padded image.
    """

    def __init__(self, height: int, width: int, tile: tuple[int, int], shapes: Sequence[tuple[int, int]], overlap: int) -> None:
        self.shapes = tuple(shapes)
        self._strides = [(tile[0] // rows, tile[1] // columns) for rows, columns in shapes]
        step = math.lcm(*(stride for level in self._strides for stride in level))
        rows, columns = (max(size, math.ceil(given / step) * step) for given, size in zip((height, width), tile, strict=True))
        self.tiles = TileGrid(rows, columns, *tile, overlap // step * step)

    def size(self, level: int) -> tuple[int, int]:
        """Rows and columns of the codes of the whole image."""
        vertical, horizontal = self._strides[level]
        return self.tiles.height // vertical, self.tiles.width // horizontal

    def place(self, level: int, tile: int) -> tuple[slice, slice]:
        """Where the window of a tile lies in the codes of the whole image."""
        row, column = divmod(tile, len(self.tiles.lefts))
        starts = self.tiles.tops[row], self.tiles.lefts[column]
        first = [start // stride for start, stride in zip(starts, self._strides[level], strict=True)]
        rows, columns = (slice(start, start + count) for start, count in zip(first, self.shapes[level], strict=True))
        return rows, columns

    def cut(self, level: int, codes: Tensor, answers: Sequence[int], tiles: Sequence[int]) -> Tensor:
        """The windows of tiles on codes [A, H, W] of numbered answers: [windows, h, w]."""
        return torch.stack([codes[answer][self.place(level, tile)] for answer, tile in zip(answers, tiles, strict=True)])

    def cut_pixels(self, images: Tensor, numbers: Sequence[int], tiles: Sequence[int]) -> Tensor:
        """Tiles [tiles, C, h, w] of numbered images [B, C, H, W]; zeros, or False, in the padding."""
        columns = len(self.tiles.lefts)
        pairs = zip(numbers, tiles, strict=True)
        return torch.stack([cut_tile(images[number], self.tiles, *divmod(tile, columns)) for number, tile in pairs])

    def active(self, wanted: Tensor) -> list[int]:
        """The tiles of one image in which some pixel is `wanted`, bool [C, height, width] without the padding."""
        grid, anything = self.tiles, wanted.any(dim=0)
        columns = len(grid.lefts)
        return [
            tile
            for tile in range(grid.count)
            if bool(_part(anything, grid.tops[tile // columns], grid.lefts[tile % columns], grid).any())
        ]

    def owners(self, level: int, active: Sequence[int]) -> Tensor:
        """The tile that draws each code of the image, int64 [H, W], or `NOBODY`."""
        nearest = torch.full(self.size(level), torch.inf)
        owners = torch.full(self.size(level), NOBODY)
        vertical, horizontal = ((torch.arange(count) + 0.5) / count - 0.5 for count in self.shapes[level])
        distances = vertical[:, None] ** 2 + horizontal**2
        for tile in active:
            place = self.place(level, tile)
            nearer = distances < nearest[place]
            nearest[place] = torch.where(nearer, distances, nearest[place])
            owners[place] = torch.where(nearer, tile, owners[place])
        return owners

    def repeated(self, level: int, window: Tensor) -> Tensor:
        """Values [..., h, w] of a tile's codes, repeated over the whole image: [..., H, W]. Every tile has each of them once."""
        (rows, columns), (height, width) = self.size(level), self.shapes[level]
        return window[..., torch.arange(rows) % height, :][..., torch.arange(columns) % width]


def blend(expected: Tensor, codes: Codes, windows: CodeWindows, active: Sequence[Sequence[int]], decode: DecodeTiles) -> None:
    """Add to `expected` [A, C, height, width] what the active tiles of each image show of its answers' codes, weighted."""
    each = len(expected) // len(active)
    pairs = [(answer, tile) for answer in range(len(expected)) for tile in active[answer // each]]
    grid = windows.tiles
    for start in range(0, len(pairs), BATCH_SIZE):
        answers, tiles = zip(*pairs[start : start + BATCH_SIZE], strict=True)
        parts = tuple(windows.cut(level, own, answers, tiles) for level, own in enumerate(codes))
        decoded = decode(parts, [answer // each for answer in answers], tiles)
        for answer, tile, pixels in zip(answers, tiles, decoded, strict=True):
            row, column = divmod(tile, len(grid.lefts))
            add_tile(expected[answer, :, grid.tops[row] :, grid.lefts[column] :], pixels, grid.weights(row, column))


def _part(pixels: Tensor, top: int, left: int, grid: TileGrid) -> Tensor:
    return pixels[top : top + grid.tile_height, left : left + grid.tile_width]
