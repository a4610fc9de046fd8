"""Orders drawn for training: how often codes are known, in what order the others come, and in which steps."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from vqkit.priors.orders import halton_order, ranks_of
from vqkit.priors.training_orders import random_known, random_steps, training_order

SHAPE, COUNT = (6, 5), 8000
POSITIONS = SHAPE[0] * SHAPE[1]
TOLERANCE = 0.03
"""More than five standard deviations of a share of `COUNT`."""


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (3, 1), (4, 6)])
def test_orders_are_permutations_with_steps_that_follow_them(shape: tuple[int, int]) -> None:
    ranks, steps = training_order(300, shape)
    assert torch.equal(ranks.sort(dim=1).values, torch.arange(shape[0] * shape[1]).expand(300, -1))
    by_place = steps.gather(1, ranks.argsort(dim=1))
    assert bool((by_place.diff(dim=1) >= 0).all())


def test_half_of_the_samples_start_from_nothing_and_most_follow_the_halton_order() -> None:
    ranks, steps = training_order(COUNT, SHAPE)
    in_halton = (ranks == ranks_of(halton_order(*SHAPE))).all(dim=1).double().mean()
    assert float(in_halton) == pytest.approx(0.5 * 0.75, abs=TOLERANCE)
    one_by_one = (steps == ranks).all(dim=1).double().mean()
    assert 0.5 < float(one_by_one) < 0.6  # half, and those that leave a code or two


def test_what_is_known_is_nothing_a_share_or_a_side_of_a_rectangle() -> None:
    known = random_known(COUNT, SHAPE)
    assert float((~known.any(dim=1)).double().mean()) == pytest.approx(
        0.5 + 0.25 / (POSITIONS + 1) + 0.125 / POSITIONS, abs=TOLERANCE
    )
    grids = known.view(-1, *SHAPE)

    def is_rectangle(grids: torch.Tensor) -> torch.Tensor:
        rows, columns = grids.any(dim=2), grids.any(dim=1)
        full = (rows[:, :, None] & columns[:, None] == grids).flatten(1).all(dim=1)
        together = [((lines[:, 1:].long() - lines[:, :-1].long()) == 1).sum(dim=1) + lines[:, 0] <= 1 for lines in (rows, columns)]
        return full & together[0] & together[1] & grids.flatten(1).any(dim=1)

    inside, outside = is_rectangle(grids), is_rectangle(~grids) & grids.flatten(1).any(dim=1)
    # A quarter, and a few random shares that happen to be rectangles; those at a side are of both kinds.
    assert 0.24 < float((inside | outside).double().mean()) < 0.28
    assert float(inside.double().mean()) == pytest.approx(float(outside.double().mean()), abs=TOLERANCE)
    heights = grids[inside].any(dim=2).sum(dim=1).bincount(minlength=7)[1:].double() / inside.sum()
    assert heights.tolist() == pytest.approx([1 / 6] * 6, abs=0.08)
    shares = known[~inside & ~outside & known.any(dim=1)].double().mean(dim=1)
    assert shares.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist() == pytest.approx(
        [0.25, 0.5, 0.75], abs=0.06
    )


def test_codes_known_from_the_start_come_before_all_others_and_one_by_one() -> None:
    ranks = torch.stack([torch.randperm(POSITIONS) for _ in range(200)])
    known = torch.randint(POSITIONS + 1, (200, 1))
    steps = random_steps(ranks, known)
    first = ranks < known
    assert torch.equal(steps[first], ranks[first])
    assert bool((steps >= known)[~first].all())


def test_a_few_steps_draw_few_codes_first() -> None:
    ranks = torch.arange(100).expand(COUNT, -1)
    steps = random_steps(ranks, torch.zeros(COUNT, 1, dtype=torch.int64))
    several = steps[(steps != ranks).any(dim=1)]
    assert len(several) / COUNT == pytest.approx(0.5, abs=0.06)
    last = several[:, -1]
    assert int(last.min()) == 3  # at least four steps
    assert int(last.max()) > 80
    few = several[last < 8]
    assert bool(((few == 0).sum(dim=1) < (few == few[:, -1:]).sum(dim=1)).all())
    assert torch.equal(few.diff(dim=1).amax(dim=1), torch.ones(len(few), dtype=torch.int64))  # none of so few is empty
    middle = last.double().log().mean()  # evenly in the logarithm of their number
    assert float(middle) == pytest.approx(torch.tensor([4.0, 100.0]).log().mean().item(), abs=0.15)
