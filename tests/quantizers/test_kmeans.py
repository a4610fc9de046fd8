"""The number of k-means iterations, and how well the centres represent rows that they were not made from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.quantizers import kmeans as module
from vqkit.quantizers.kmeans import MOST_DISTANCES, affordable_iterations, kmeans
from vqkit.quantizers.nearest import nearest_codes


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clustered(count: int, seed: int) -> Tensor:
    """Rows [count, 6] of forty elongated clusters, the same clusters for every seed."""
    source = generator()
    centres, spread = 1.5 * torch.randn(40, 6, generator=source), torch.randn(40, 6, 6, generator=source) * torch.logspace(0, -1, 6)
    source = generator(seed)
    number = torch.randint(40, (count,), generator=source)
    return centres[number] + (torch.randn(count, 1, 6, generator=source) @ spread[number])[:, 0]


def measured(rows: Tensor, centres: Tensor) -> tuple[float, float]:
    """Mean squared error and perplexity of the centres on rows."""
    indices = nearest_codes(rows, centres)
    shares = torch.bincount(indices, minlength=len(centres)) / len(rows)
    return float((rows - centres[indices]).square().mean()), float(torch.special.entr(shares).sum().exp())


@pytest.mark.parametrize(
    ("total", "codes", "expected"),
    [
        (100_000, 1024, 10),
        (200_000, 512, 10),
        (2**15, 2**14, 2),
        (2**17, 2**16, 1),
        (2**30, 2**10, 1),
        (2**16, 2**16, 0),
        (2**13, 2**16, 0),
    ],
)
def test_many_codes_get_fewer_iterations(total: int, codes: int, expected: int) -> None:
    assert affordable_iterations(total, codes, 10) == expected
    assert affordable_iterations(total, codes, 0) == 0


def test_as_many_codes_as_rows_cost_no_search_and_every_row_is_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(rows: Tensor, codes: Tensor) -> Tensor:
        raise AssertionError(f"searched {len(codes)} codes for {len(rows)} rows")

    monkeypatch.setattr(module, "nearest_codes", refuse)
    rows = clustered(200, 1)
    centres, sizes = kmeans(rows, 300, 10, generator())
    assert torch.equal(sizes, torch.ones(300))
    error, perplexity = measured(rows, centres)
    assert error < 1e-10
    assert perplexity == pytest.approx(200)


def test_few_iterations_are_nearly_as_good_as_ten_where_there_are_few_rows_for_a_code(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, others = clustered(1024, 1), clustered(4000, 2)
    in_full, perplexity_in_full = measured(others, kmeans(rows, 256, 10, generator())[0])
    # Two iterations, as 16,384 codes get on 32,768 rows.
    monkeypatch.setattr(module, "MOST_DISTANCES", 2 * len(rows) * 256)
    shortened, perplexity = measured(others, kmeans(rows, 256, 10, generator())[0])
    at_random, _ = measured(others, kmeans(rows, 256, 0, generator())[0])
    assert shortened < 1.02 * in_full < 0.95 * at_random
    assert perplexity > 0.98 * perplexity_in_full


def test_the_bound_leaves_the_usual_sizes_alone() -> None:
    """128 images of 32 x 32 codes with 512 codes, as in the largest configuration without a GPU."""
    assert MOST_DISTANCES >= 10 * 128 * 32 * 32 * 512
