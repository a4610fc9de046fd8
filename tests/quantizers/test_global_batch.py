from __future__ import annotations

import torch

from vqkit.quantizers.global_batch import GlobalBatch, draw_distinct, draw_weighted


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(count: int) -> torch.Tensor:
    """Row i is [i, -i]."""
    return torch.arange(count, dtype=torch.float32)[:, None] * torch.tensor([1.0, -1.0])


def test_a_single_process_takes_and_gathers_its_own_rows() -> None:
    batch = GlobalBatch(rows(5))
    assert (batch.start, batch.total) == (0, 5)
    assert batch.take(torch.tensor([4, 0, 4])).tolist() == [[4, -4], [0, 0], [4, -4]]
    assert batch.gather(torch.arange(5.0)).tolist() == [0, 1, 2, 3, 4]


def test_distinct_rows_are_distinct_while_there_are_enough() -> None:
    drawn = draw_distinct(GlobalBatch(rows(20)), 20, generator())
    assert sorted(drawn[:, 0].tolist()) == list(range(20))
    repeated = draw_distinct(GlobalBatch(rows(3)), 7, generator())
    assert sorted(repeated[:, 0].tolist()) in ([0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2, 2])


def test_weighted_rows_follow_their_weights() -> None:
    batch, weights = GlobalBatch(rows(4)), torch.tensor([1.0, 0.0, 3.0, 6.0])
    first, draws = torch.zeros(4), 2000
    source = generator()
    for _ in range(draws):
        first[int(draw_weighted(batch, weights, 1, source)[0][0, 0])] += 1
    assert (first / draws - weights / 10).abs().max() < 0.04  # more than three deviations


def test_rows_without_weight_are_marked_and_no_row_comes_twice() -> None:
    weights = torch.tensor([0.0, 2.0, 0.0, 1e-20, 5.0])
    drawn, usable = draw_weighted(GlobalBatch(rows(5)), weights, 9, generator())
    assert sorted(drawn[:, 0].tolist()) == [0, 1, 2, 3, 4]
    assert sorted(drawn[usable][:, 0].tolist()) == [1, 3, 4]
    assert usable.tolist() == [True, True, True, False, False]
