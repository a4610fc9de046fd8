"""The grid of codes of a large image: where windows lie, which tile draws a code, and what they cover together."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from vqkit.inference.code_windows import NOBODY, CodeWindows, blend
from vqkit.inference.tile_grid import TileGrid
from vqkit.interfaces import Codes

LEVELS = ((2, 3), (4, 6))
"""Codes of a tile of 16 x 24 pixels: one for 8 x 8 pixels, and one for 4 x 4."""


def windows(height: int, width: int, overlap: int = 8) -> CodeWindows:
    return CodeWindows(height, width, (16, 24), LEVELS, overlap)


@pytest.mark.parametrize(("height", "width", "overlap"), [(45, 71, 8), (16, 24, 8), (5, 100, 0), (33, 25, 7)])
def test_tiles_lie_on_whole_codes_of_every_level_and_cover_the_image(height: int, width: int, overlap: int) -> None:
    found = windows(height, width, overlap)
    assert found.tiles.height >= height and found.tiles.width >= width
    assert all(start % 8 == 0 for start in (*found.tiles.tops, *found.tiles.lefts))
    for level, (rows, columns) in enumerate(LEVELS):
        seen = torch.zeros(found.size(level), dtype=torch.int64)
        for tile in range(found.tiles.count):
            place = found.place(level, tile)
            assert seen[place].shape == (rows, columns)
            seen[place] += 1
        assert bool((seen > 0).all())


def test_the_overlap_is_that_of_whole_codes() -> None:
    assert [windows(160, 240, overlap).tiles.overlap for overlap in (0, 5, 7, 8)] == [0, 0, 0, 8]


def test_each_code_belongs_to_the_active_tile_in_whose_middle_it_lies() -> None:
    found = CodeWindows(16, 40, (16, 16), ((4, 4),), 8)
    assert found.tiles.lefts == (0, 8, 16, 24)
    assert found.owners(0, range(4)).tolist() == [[0, 0, 0, 1, 1, 2, 2, 3, 3, 3]] * 4
    assert found.owners(0, [0, 3]).tolist() == [[0, 0, 0, 0, NOBODY, NOBODY, 3, 3, 3, 3]] * 4


def test_a_tile_is_active_where_something_is_wanted() -> None:
    found = CodeWindows(16, 40, (16, 16), ((4, 4),), 8)
    wanted = torch.zeros(3, 16, 40, dtype=torch.bool)
    assert found.active(wanted) == []
    wanted[2, 7, 8] = True
    assert found.active(wanted) == [0, 1]
    wanted[0, 0, 39] = True
    assert found.active(wanted) == [0, 1, 3]


def test_an_order_is_repeated_so_that_every_tile_has_each_place_once() -> None:
    found = windows(48, 72)
    places = found.repeated(1, torch.arange(24).view(4, 6))
    assert places.shape == found.size(1)
    for tile in range(found.tiles.count):
        assert places[found.place(1, tile)].flatten().sort().values.tolist() == list(range(24))


def test_decoded_tiles_are_blended_and_the_padding_is_cut_off() -> None:
    found = windows(45, 71)
    rows, columns = found.size(0)
    codes = torch.arange(2 * rows * columns).view(2, rows, columns)

    def decode(parts: Codes, images: Sequence[int], tiles: Sequence[int]) -> Tensor:
        assert set(images) <= {0}
        return parts[0][:, None].float().repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)

    expected = torch.zeros(2, 1, 45, 71)
    blend(expected, (codes,), found, [range(found.tiles.count)], decode)
    whole = codes[:, None].float().repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    torch.testing.assert_close(expected, whole[..., :45, :71])
    assert TileGrid(45, 71, 16, 24, 8).count == found.tiles.count
