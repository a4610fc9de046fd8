from __future__ import annotations

import random

import pytest
import torch

from vqkit.errors import ConfigError
from vqkit.inference.tile_grid import TileGrid, default_overlap


def random_grids(count: int) -> list[TileGrid]:
    """Grids of all kinds: images of the size of a tile, smaller, barely larger and much larger, with every allowed overlap."""
    draw = random.Random(0)
    grids = []
    for _ in range(count):
        tile_height, tile_width = draw.randint(1, 12), draw.randint(1, 12)
        overlap = draw.randint(0, min(tile_height, tile_width) // 2)
        grids.append(TileGrid(draw.randint(1, 50), draw.randint(1, 50), tile_height, tile_width, overlap))
    return grids


GRIDS = random_grids(200)


def test_tiles_cover_the_image_and_end_at_its_borders() -> None:
    for grid in GRIDS:
        covered = torch.zeros(grid.height, grid.width)
        for top in grid.tops:
            for left in grid.lefts:
                covered[top : top + grid.tile_height, left : left + grid.tile_width] += 1
        assert bool((covered > 0).all())
        if grid.height >= grid.tile_height:
            assert grid.tops[-1] + grid.tile_height == grid.height
        if grid.width >= grid.tile_width:
            assert grid.lefts[-1] + grid.tile_width == grid.width
        assert grid.count == len(grid.tops) * len(grid.lefts)


def test_neighbours_share_at_least_the_overlap_and_no_tile_is_superfluous() -> None:
    for grid in GRIDS:
        steps = [after - before for before, after in zip(grid.tops, grid.tops[1:], strict=False)]
        assert all(0 < step <= grid.tile_height - grid.overlap for step in steps)
        assert steps[:-1] == [grid.tile_height - grid.overlap] * len(steps[:-1])


def test_weights_of_every_pixel_sum_to_one() -> None:
    for grid in GRIDS:
        total = torch.zeros(grid.height + grid.tile_height, grid.width + grid.tile_width, dtype=torch.float64)
        count = torch.zeros_like(total)
        for row, top in enumerate(grid.tops):
            for column, left in enumerate(grid.lefts):
                weights = grid.weights(row, column)
                assert weights.dtype == torch.float32 and bool((weights >= 0).all())
                place = (slice(top, top + grid.tile_height), slice(left, left + grid.tile_width))
                total[place] += weights
                count[place] += 1
        inside = total[: grid.height, : grid.width]
        torch.testing.assert_close(inside, torch.ones_like(inside), atol=3e-7, rtol=0)
        assert bool((inside[count[: grid.height, : grid.width] == 1] == 1).all())


def test_weights_change_little_from_pixel_to_pixel() -> None:
    grid = TileGrid(300, 64, 64, 64, 16)
    weights = torch.zeros(len(grid.tops), grid.height)
    for row, top in enumerate(grid.tops):
        weights[row, top : top + 64] = grid.row_weights[row]
    steepest = torch.pi / 2 / grid.overlap
    assert float(weights.diff(dim=1).abs().max()) <= steepest
    falling = weights[0, 48:64]
    expected = [(1 + torch.cos(torch.tensor(torch.pi * (pixel + 0.5) / 16)).item()) / 2 for pixel in range(16)]
    assert falling.tolist() == pytest.approx(expected, abs=1e-6)


def test_rises_are_the_weights_against_all_tiles_before() -> None:
    """Laid over each other in their order, tiles give what their weights give, where no tile is closer than the overlap asks."""
    grid = TileGrid(8 + 3 * 5, 12 + 2 * 9, 8, 12, 3)
    values = torch.rand(grid.count, 8, 12, generator=torch.Generator().manual_seed(0))
    layered, summed = torch.zeros(grid.height, grid.width), torch.zeros(grid.height, grid.width)
    for number, value in enumerate(values):
        row, column = divmod(number, len(grid.lefts))
        place = (slice(grid.tops[row], grid.tops[row] + 8), slice(grid.lefts[column], grid.lefts[column] + 12))
        layered[place] = torch.lerp(layered[place], value, grid.rises(row, column))
        summed[place] += value * grid.weights(row, column)
    outside = torch.ones(grid.height, grid.width, dtype=torch.bool)  # of the corners that four tiles share
    for top in grid.tops[1:]:
        for left in grid.lefts[1:]:
            outside[top : top + 3, left : left + 3] = False
    torch.testing.assert_close(layered[outside], summed[outside])


def test_rises_end_with_what_is_shared() -> None:
    grid = TileGrid(17, 8, 8, 8, 2)
    assert grid.tops == (0, 6, 9)
    assert grid.rises(1, 0)[:, 0].tolist() == pytest.approx([0.1464, 0.8536, 1, 1, 1, 1, 1, 1], abs=1e-4)
    assert grid.rises(2, 0)[:, 0].tolist() == pytest.approx([0, 0, 0, 0.1464, 0.8536, 1, 1, 1], abs=1e-4)
    assert bool((grid.rises(0, 0) == 1).all())


@pytest.mark.parametrize("overlap", [-1, 17])
def test_an_overlap_that_tiles_do_not_allow_names_the_limits(overlap: int) -> None:
    with pytest.raises(ConfigError, match=f"{overlap} pixels; tiles of 64 x 32 allow 0 to 16") as error:
        TileGrid(100, 100, 64, 32, overlap)
    assert error.value.hint == "Leave it out for 16, half of the shorter side, which hides the borders of tiles best."
    assert default_overlap(64, 32) == 16
