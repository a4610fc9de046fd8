"""Where the tiles of a large image lie, and how their results are blended.

Tiles are placed from the top left, `tile - overlap` pixels apart; the last of a row or column ends at the border of the image.
From one tile to the next, the weight of the first falls and that of the second rises along a raised cosine, `overlap` pixels wide,
in the middle of what both cover. The weights of every pixel sum to 1, so what all tiles agree on is returned unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from vqkit.errors import ConfigError


def default_overlap(tile_height: int, tile_width: int) -> int:
    """Half of the shorter side of a tile, in pixels: the most that is allowed.

    Networks know the least of the border of a tile. With a quarter, what they draw there differently shows in even areas.
    """
    return min(tile_height, tile_width) // 2


@dataclass(frozen=True)
class TileGrid:
    """The tiles that cover an image of `height` x `width` pixels; neighbours share at least `overlap` pixels.

    An image smaller than a tile has one, which extends beyond it on the right and below. Raises `ConfigError` for an overlap below
    0 or above half of a tile, from which on more than two tiles in a row would share pixels.
    """

    height: int
    width: int
    tile_height: int
    tile_width: int
    overlap: int

    def __post_init__(self) -> None:
        largest = default_overlap(self.tile_height, self.tile_width)
        if not 0 <= self.overlap <= largest:
            raise ConfigError(
                f"The tile overlap is {self.overlap} pixels; tiles of {self.tile_height} x {self.tile_width} allow 0 to {largest}.",
                f"Leave it out for {largest}, half of the shorter side, which hides the borders of tiles best.",
            )

    @cached_property
    def tops(self) -> tuple[int, ...]:
        """First rows of the rows of tiles, ascending from 0."""
        return _origins(self.height, self.tile_height, self.overlap)

    @cached_property
    def lefts(self) -> tuple[int, ...]:
        """First columns of the columns of tiles, ascending from 0."""
        return _origins(self.width, self.tile_width, self.overlap)

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.tops) * len(self.lefts)

    @cached_property
    def row_weights(self) -> Tensor:
        """Weights of the pixels of each row of tiles in the vertical direction, float32 [rows of tiles, tile_height]."""
        return _weights(self.tops, self.tile_height, self.overlap)

    @cached_property
    def column_weights(self) -> Tensor:
        """Weights of the pixels of each column of tiles in the horizontal direction, float32 [columns of tiles, tile_width]."""
        return _weights(self.lefts, self.tile_width, self.overlap)

    def weights(self, row: int, column: int) -> Tensor:
        """Weights of the pixels of one tile, float32 [tile_height, tile_width]."""
        return self.row_weights[row][:, None] * self.column_weights[column]

    def rises(self, row: int, column: int) -> Tensor:
        """Weights of one tile against all tiles before it, in rows from the top left, float32 [tile_height, tile_width].

        They rise from 0 to 1 over the last `overlap` pixels that the tiles above, or to the left, cover too.
        """
        vertical = _rises(self.tops, row, self.tile_height, self.overlap)
        return vertical[:, None] * _rises(self.lefts, column, self.tile_width, self.overlap)


def _origins(size: int, tile: int, overlap: int) -> tuple[int, ...]:
    """First pixels of tiles along one side of an image."""
    if size <= tile:
        return (0,)
    count = 1 + math.ceil((size - tile) / (tile - overlap))
    return tuple(min(number * (tile - overlap), size - tile) for number in range(count))


def _weights(origins: tuple[int, ...], tile: int, overlap: int) -> Tensor:
    """Weights along one side of an image, float32 [tiles, tile].

    With S_k, which rises from 0 to 1 where tile k gives way to tile k + 1, tile k has the weight S_(k - 1) - S_k. These sum to 1,
    and none is below 0, since every S_k is the same curve, moved.
    """
    starts = torch.tensor(origins, dtype=torch.float64)
    pixels = starts[:, None] + torch.arange(tile, dtype=torch.float64) + 0.5
    middles = (starts[:-1] + starts[1:] + tile) / 2
    risen = torch.ones(len(origins), tile, dtype=torch.float64)
    risen[1:] = _rise(pixels[1:] - middles[:, None], overlap)
    falling = torch.zeros(len(origins), tile, dtype=torch.float64)
    falling[:-1] = _rise(pixels[:-1] - middles[:, None], overlap)
    return (risen - falling).to(torch.float32)


def _rises(origins: tuple[int, ...], number: int, tile: int, overlap: int) -> Tensor:
    """Weights of a tile against the one before it along one side of an image, float32 [tile]."""
    if number == 0:
        return torch.ones(tile)
    shared = origins[number - 1] + tile - origins[number]
    pixels = torch.arange(tile, dtype=torch.float64) + 0.5
    return _rise(pixels - (shared - overlap / 2), overlap).to(torch.float32)


def _rise(distance: Tensor, width: int) -> Tensor:
    """A curve from 0 to 1 around a distance of 0, `width` pixels wide."""
    if width == 0:
        return (distance >= 0).to(distance.dtype)
    return (1 - torch.cos(torch.pi * (distance / width + 0.5).clamp(0, 1))) / 2
