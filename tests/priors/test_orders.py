"""Orders of codes: permutations, how evenly the Halton order spreads, and how many codes each step draws."""

from __future__ import annotations

import pytest
import torch

from vqkit.priors.orders import drawn_after, fixed_order, halton_order, radical_inverse, random_orders, ranks_of


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (16, 8), (5, 13)])
def test_every_position_comes_once(shape: tuple[int, int]) -> None:
    count = shape[0] * shape[1]
    for name in ("halton", "raster"):
        assert sorted(fixed_order(name, *shape).tolist()) == list(range(count))
    for order in random_orders(0, 0, 5, 3, count):
        assert sorted(order.tolist()) == list(range(count))


def test_radical_inverses_by_hand() -> None:
    assert [radical_inverse(number, 2) for number in range(1, 6)] == [0.5, 0.25, 0.75, 0.125, 0.625]
    assert [radical_inverse(number, 3) for number in range(1, 4)] == pytest.approx([1 / 3, 2 / 3, 1 / 9])


@pytest.mark.parametrize("shape", [(16, 16), (16, 8)])
def test_every_part_of_the_halton_order_is_spread_over_the_grid(shape: tuple[int, int]) -> None:
    height, width = shape
    order = halton_order(height, width)
    for part in order.split(len(order) // 8):
        quarters = part // width // (height // 2) * 2 + part % width // (width // 2)
        counts = quarters.bincount(minlength=4)
        assert int(counts.max() - counts.min()) <= 5


def test_random_orders_depend_on_seed_level_and_number_alone() -> None:
    orders = random_orders(1, 0, 0, 4, 30)
    assert torch.equal(orders[2:], random_orders(1, 0, 2, 2, 30))
    for other in (random_orders(2, 0, 0, 4, 30), random_orders(1, 1, 0, 4, 30)):
        assert not torch.equal(orders, other)


def test_ranks_are_the_inverse() -> None:
    order = torch.tensor([2, 0, 3, 1])
    assert ranks_of(order).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("count", [1, 2, 5, 12, 128, 1024])
@pytest.mark.parametrize("steps", [1, 2, 8, 12, 1000])
def test_every_step_draws_some_codes_and_the_last_all(count: int, steps: int) -> None:
    after = drawn_after(count, steps)
    assert len(after) == min(steps, count)
    assert after[-1] == count
    assert all(later > earlier for earlier, later in zip([0, *after], after, strict=False))


def test_the_first_steps_draw_few_codes() -> None:
    after = drawn_after(1000, 10)
    drawn = [later - earlier for earlier, later in zip([0, *after], after, strict=False)]
    assert drawn == sorted(drawn)
    assert drawn[0] < 20 < 150 < drawn[-1]
