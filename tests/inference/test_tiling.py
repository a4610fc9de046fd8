from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vqkit.inference.tile_grid import TileGrid
from vqkit.inference.tiling import ImageRows, fill_images, fill_rows

GRIDS = [
    TileGrid(37, 53, 12, 8, 4),
    TileGrid(37, 53, 12, 8, 0),
    TileGrid(13, 9, 12, 8, 3),
    TileGrid(12, 8, 12, 8, 4),
    TileGrid(5, 30, 12, 8, 2),
    TileGrid(30, 5, 12, 8, 4),
    TileGrid(4, 3, 12, 8, 1),
]


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def holes(*shape: int) -> Tensor:
    """Everything is wanted but what a random half of the pixels hold, and nothing at the top left."""
    wanted = noise(*shape) > 0.5
    wanted[..., :6, :6] = False
    return wanted


def mean_of_observed(images: Tensor, observed: Tensor, numbers: Tensor) -> Tensor:
    """A model whose every tile differs from its neighbours: the mean of what is observed, and the pixel's place in the tile."""
    known = torch.where(observed, images.float(), 0)
    mean = known.sum(dim=(2, 3), keepdim=True) / observed.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    place = torch.arange(images.shape[2])[:, None] - 2.0 * torch.arange(images.shape[3])
    return mean + place / 10 + numbers[:, None, None, None]


def by_hand(images: Tensor, observed: Tensor, grid: TileGrid) -> Tensor:
    """What `mean_of_observed` fills in, tile by tile and pixel by pixel."""
    expected = torch.zeros(images.shape, dtype=torch.float64)
    for number, channel in [(number, channel) for number in range(len(images)) for channel in range(images.shape[1])]:
        for row, top in enumerate(grid.tops):
            for column, left in enumerate(grid.lefts):
                place = (number, channel, slice(top, top + grid.tile_height), slice(left, left + grid.tile_width))
                known = images[place][observed[place]].double()
                mean = float(known.mean()) if len(known) else 0.0
                height, width = images[place].shape
                for y in range(height):
                    for x in range(width):
                        weight = float(grid.row_weights[row, y]) * float(grid.column_weights[column, x])
                        value = mean + (y - 2.0 * x) / 10 + number
                        expected[number, channel, top + y, left + x] += weight * value
    return expected.float()


def rows_of(image: Tensor, observed: Tensor, wanted: Tensor) -> tuple[Callable[[int, int], ImageRows], list[tuple[int, int]]]:
    """A reader of an image in memory, and the list of what it was asked for."""
    asked: list[tuple[int, int]] = []

    def read(top: int, count: int) -> ImageRows:
        asked.append((top, count))
        return ImageRows(image, observed, wanted).cut(top, top + count)

    return read, asked


@pytest.mark.parametrize("grid", GRIDS)
def test_images_in_memory_are_filled_in_as_by_hand(grid: TileGrid) -> None:
    images, wanted = noise(2, 3, grid.height, grid.width), holes(2, 3, grid.height, grid.width)
    expected = fill_images(images, ~wanted, wanted, mean_of_observed, grid, 5)
    torch.testing.assert_close(expected[wanted], by_hand(images, ~wanted, grid)[wanted], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grid", GRIDS)
def test_rows_are_those_of_the_image_in_memory(grid: TileGrid) -> None:
    image, wanted = (noise(3, grid.height, grid.width) * 4095).to(torch.uint16), holes(3, grid.height, grid.width)
    whole = fill_images(image[None], ~wanted[None], wanted[None], mean_of_observed, grid, 5)[0]
    read, asked = rows_of(image, ~wanted, wanted)
    filled = list(fill_rows(read, mean_of_observed, grid, 3))
    assert [part.top for part in filled] == list(grid.tops)
    torch.testing.assert_close(torch.cat([part.expected for part in filled], dim=1)[wanted], whole[wanted], atol=1e-3, rtol=1e-5)
    assert torch.equal(torch.cat([part.given.images for part in filled], dim=1), image)
    assert torch.equal(torch.cat([part.given.wanted for part in filled], dim=1), wanted)
    assert torch.equal(torch.cat([part.given.observed for part in filled], dim=1), ~wanted)
    assert [top for top, _ in asked] == [sum(count for _, count in asked[:index]) for index in range(len(asked))]
    assert sum(count for _, count in asked) == grid.height
    assert max(count for _, count in asked) <= grid.tile_height


@pytest.mark.parametrize("grid", GRIDS)
def test_what_all_tiles_agree_on_is_returned(grid: TileGrid) -> None:
    images = noise(2, 3, grid.height, grid.width)
    everything = torch.ones_like(images, dtype=torch.bool)
    same = fill_images(images, everything, everything, lambda tiles, observed, numbers: tiles, grid, 7)
    torch.testing.assert_close(same, images, atol=1e-6, rtol=0)


def test_the_size_of_batches_changes_nothing() -> None:
    grid = GRIDS[0]
    images, wanted = noise(3, 2, grid.height, grid.width), holes(3, 2, grid.height, grid.width)
    results = [fill_images(images, ~wanted, wanted, mean_of_observed, grid, size) for size in (1, 4, 1000)]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], atol=1e-5, rtol=1e-5)


def test_only_tiles_with_wanted_pixels_are_computed_and_batches_are_full() -> None:
    grid = TileGrid(32, 32, 8, 8, 0)
    images = noise(2, 1, 32, 32)
    wanted = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    wanted[0, 0, 9, 17] = wanted[1, 0, 31, 0] = wanted[1, 0, 0, 31] = True
    seen: list[tuple[Tensor, list[int]]] = []

    def fill(tiles: Tensor, observed: Tensor, numbers: Tensor) -> Tensor:
        seen.append((tiles, numbers.tolist()))
        return mean_of_observed(tiles, observed, numbers)

    fill_images(images, ~wanted, wanted, fill, grid, 2)
    assert [numbers for _, numbers in seen] == [[0, 1], [1]]
    assert torch.equal(seen[0][0][0], images[0, :, 8:16, 16:24])
    assert torch.equal(seen[0][0][1], images[1, :, 0:8, 24:32])
    assert torch.equal(seen[1][0][0], images[1, :, 24:32, 0:8])
    seen.clear()
    list(fill_rows(rows_of(images[1], ~wanted[1], wanted[1])[0], fill, grid, 2))
    assert [numbers for _, numbers in seen] == [[0], [0]]


def test_an_image_smaller_than_the_tile_is_surrounded_by_what_is_not_observed() -> None:
    grid = TileGrid(4, 3, 12, 8, 1)
    image, observed = noise(1, 2, 4, 3), torch.ones(1, 2, 4, 3, dtype=torch.bool)

    def fill(tiles: Tensor, known: Tensor, numbers: Tensor) -> Tensor:
        assert tiles.shape == known.shape == (1, 2, 12, 8)
        assert torch.equal(tiles[..., :4, :3], image) and int(known.sum()) == 2 * 4 * 3
        assert bool(known[..., :4, :3].all())
        return tiles + 1

    assert torch.equal(fill_images(image, observed, observed, fill, grid, 8), image + 1)
