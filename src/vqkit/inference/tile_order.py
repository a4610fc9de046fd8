"""Drawing answers for images larger than the model's tile: tile by tile, each given what those before it have filled in.

A tile drawn by itself would not fit its neighbours: each would be another answer. So tiles are drawn in rows from the top left, and
what is filled in already counts as observed for the next one. Where a tile overlaps what is filled in, its own values take over
along `TileGrid.rises`: they were drawn to fit what is there, but codes describe it only up to their resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core.randomness import key_bytes
from vqkit.inference.tile_grid import TileGrid
from vqkit.inference.tiling import cut_tile
from vqkit.interfaces import Codes
from vqkit.interfaces.priors import Sampling


class Answers(NamedTuple):
    """Answers for N images: expected values float32 [N, C, H, W], valid where not observed, negative log-likelihoods float32 [N],
    summed over all tiles, and the codes int64 [N, h, w] of each level, for images of the size of a tile."""

    expected: Tensor
    nll: Tensor
    codes: Codes = ()


DrawTiles = Callable[[Tensor, Tensor, int], Answers]
"""Draws one answer for each of N tiles: from tiles as stored [N, C, h, w], where they are observed (bool, the same shape) and the
number of the tile, which is the same for all."""

Finish = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Final images, as stored, from expected values, images as stored and where they are observed, all [N, C, h, w]."""


def draw_tile_by_tile(images: Tensor, observed: Tensor, wanted: Tensor, draw: DrawTiles, finish: Finish, grid: TileGrid) -> Answers:
    """One answer for each of N images, tile by tile.

    `images` as stored [N, C, H, W]; `observed` and `wanted` bool [N, C, H, W]. A tile is drawn for all images if any of them misses
    something there, and used for those that do, so that the answer to one does not depend on the others. Raises what `draw` raises.
    """
    expected, known, nll = torch.zeros(images.shape), observed.clone(), torch.zeros(len(images))
    for number in range(grid.count):
        row, column = divmod(number, len(grid.lefts))
        rows = slice(grid.tops[row], grid.tops[row] + grid.tile_height)
        place = (slice(None), slice(None), rows, slice(grid.lefts[column], grid.lefts[column] + grid.tile_width))
        missing = (wanted[place] & ~known[place]).flatten(1).any(dim=1)
        if not bool(missing.any()):
            continue
        current = finish(expected[place], images[place], observed[place])
        drawn = draw(cut_tile(current, grid, 0, 0), cut_tile(known[place], grid, 0, 0), number)
        filled = known[place] & ~observed[place]
        height, width = filled.shape[2:]
        share = torch.where(filled, grid.rises(row, column)[:height, :width], 1) * missing[:, None, None, None]
        expected[place] = torch.lerp(expected[place], drawn.expected[:, :, :height, :width], share)
        known[place] |= wanted[place]
        nll += drawn.nll * missing
    return Answers(expected, nll)


def sampling_of_tile(sampling: Sampling, number: int) -> Sampling:
    """The settings for one tile of an image, whose seed is a function of the given one and the tile's number; tile 0 keeps it."""
    if number == 0:
        return sampling
    return replace(sampling, seed=int.from_bytes(key_bytes(7, sampling.seed, "tile", number), "little"))
