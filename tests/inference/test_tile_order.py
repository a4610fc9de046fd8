from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.inference.tile_grid import TileGrid
from vqkit.inference.tile_order import Answers, draw_tile_by_tile, sampling_of_tile
from vqkit.interfaces.priors import Sampling

GRID = TileGrid(20, 26, 8, 8, 2)


def keep_floats(expected: Tensor, images: Tensor, observed: Tensor) -> Tensor:
    return torch.where(observed, images, expected)


class Ramp:
    """Continues a ramp along the columns from what is observed, and remembers what it was asked.

    The value of a pixel is one number, fixed by any observed pixel; where nothing is observed, `first` at the left of the tile.
    """

    def __init__(self, first: float = 0.0) -> None:
        self.first = first
        self.asked: list[tuple[int, Tensor, Tensor]] = []

    def __call__(self, images: Tensor, observed: Tensor, number: int) -> Answers:
        self.asked.append((number, images.clone(), observed.clone()))
        columns = torch.arange(float(images.shape[3])).expand(images.shape[1:])
        starts = []
        for image, known in zip(images, observed, strict=True):
            starts.append((image - columns)[known].mean() if bool(known.any()) else torch.tensor(self.first))
        return Answers(torch.stack(starts)[:, None, None, None] + columns, torch.full((len(images),), number + 1.0))


def test_every_tile_continues_what_the_tiles_before_it_hold() -> None:
    images = torch.zeros(2, 1, 20, 26)
    observed, wanted = torch.zeros_like(images, dtype=torch.bool), torch.ones_like(images, dtype=torch.bool)
    draw = Ramp(5.0)
    answers = draw_tile_by_tile(images, observed, wanted, draw, keep_floats, GRID)
    expected = (5 + torch.arange(26.0)).expand(images.shape)
    torch.testing.assert_close(answers.expected, expected, atol=1e-4, rtol=0)
    assert [number for number, _, _ in draw.asked] == list(range(GRID.count))
    assert answers.nll.tolist() == [sum(range(1, GRID.count + 1))] * 2
    _, second, known = draw.asked[1]
    assert bool(known[..., :2].all()) and not bool(known[..., 2:].any())
    assert second[0, 0, 0, :2].tolist() == [11, 12]


def test_what_is_observed_is_seen_and_complete_tiles_are_skipped() -> None:
    images = 3 + torch.arange(26.0).expand(1, 1, 20, 26)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[..., 9:11, 9:11] = False
    draw = Ramp()
    answers = draw_tile_by_tile(images.clone(), observed, ~observed, draw, keep_floats, GRID)
    assert [number for number, _, _ in draw.asked] == [5]
    torch.testing.assert_close(answers.expected[~observed], images[~observed])
    assert answers.nll.tolist() == [6]


def test_where_a_tile_overlaps_it_takes_over_along_the_rise() -> None:
    grid = TileGrid(8, 14, 8, 8, 2)
    images = torch.zeros(1, 1, 8, 14)
    nothing = torch.zeros_like(images, dtype=torch.bool)

    def draw(tiles: Tensor, observed: Tensor, number: int) -> Answers:
        return Answers(torch.full_like(tiles, float(number)), torch.zeros(1))

    answers = draw_tile_by_tile(images, nothing, ~nothing, draw, keep_floats, grid)
    assert answers.expected[0, 0, 3].tolist() == pytest.approx([0] * 6 + [0.1464, 0.8536] + [1] * 6, abs=1e-4)


def test_the_answer_to_one_image_does_not_depend_on_the_others() -> None:
    """The second image misses only what the first tile fills in; the tile beside it is drawn for the first image."""
    images = torch.zeros(2, 1, 8, 14)
    wanted = torch.zeros_like(images, dtype=torch.bool)
    wanted[0] = True
    wanted[1, ..., 7] = True
    grid = TileGrid(8, 14, 8, 8, 2)

    def draw(tiles: Tensor, observed: Tensor, number: int) -> Answers:
        return Answers(torch.full_like(tiles, number + 1.0), torch.ones(len(tiles)))

    both = draw_tile_by_tile(images, ~wanted, wanted, draw, keep_floats, grid)
    alone = draw_tile_by_tile(images[1:], ~wanted[1:], wanted[1:], draw, keep_floats, grid)
    assert torch.equal(both.expected[1], alone.expected[0])
    assert both.nll.tolist() == [2, 1] and alone.nll.tolist() == [1]


def test_a_smaller_image_is_one_tile() -> None:
    images = torch.full((1, 2, 5, 6), 4.0)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[:, 1] = False
    draw = Ramp()
    answers = draw_tile_by_tile(images, observed, ~observed, draw, keep_floats, TileGrid(5, 6, 8, 8, 2))
    _, tiles, known = draw.asked[0]
    assert tiles.shape == (1, 2, 8, 8) and bool((tiles[0, 0, :5, :6] == 4).all())
    assert torch.equal(known[..., :5, :6], observed) and int(known.sum()) == 5 * 6
    assert answers.expected.shape == images.shape


def test_every_tile_has_noise_of_its_own() -> None:
    sampling = Sampling(seed=3, temperature=0.5)
    seeds = [sampling_of_tile(sampling, number).seed for number in range(50)]
    assert seeds[0] == 3 and len(set(seeds)) == 50
    assert seeds == [sampling_of_tile(sampling, number).seed for number in range(50)]
    assert sampling_of_tile(sampling, 7).temperature == 0.5
    assert not set(seeds[1:]) & {sampling_of_tile(Sampling(seed=4), number).seed for number in range(50)}
