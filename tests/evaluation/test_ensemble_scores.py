"""Scores of samples against closed forms, plain loops, and samples of which the truth is one."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from vqkit.evaluation.ensemble_scores import Ranks, bernoulli_coverage, coverage, fair_crps, rank_histogram, ranks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def in_a_row(found: Ranks) -> Ranks:
    return found._replace(below=found.below[None], equal=found.equal[None])


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_fair_score_is_that_of_all_pairs(count: int) -> None:
    answers, truth = normal(count, 5), normal(5, seed=1)
    for position in range(5):
        x, y = answers[:, position].tolist(), float(truth[position])
        pairs = sum(abs(one - other) for one, other in combinations(x, 2))
        expected = sum(abs(each - y) for each in x) / count - pairs / (count * (count - 1))
        assert float(fair_crps(answers, truth)[position]) == pytest.approx(expected)


@pytest.mark.parametrize(("mean", "deviation"), [(0.0, 1.0), (0.7, 0.5), (-2.0, 3.0)])
@pytest.mark.parametrize("count", [2, 5])
def test_the_fair_score_is_unbiased_for_the_closed_form_of_a_gaussian(mean: float, deviation: float, count: int) -> None:
    """Gneiting and Raftery 2007, equation 21, of N(mean, deviation) for the truth 0.4."""
    z = (0.4 - mean) / deviation
    density, below = math.exp(-z * z / 2) / math.sqrt(2 * math.pi), 0.5 * (1 + math.erf(z / math.sqrt(2)))
    expected = deviation * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))
    scores = fair_crps(mean + deviation * normal(count, 200_000, seed=2), torch.full((200_000,), 0.4, dtype=torch.float64))
    assert float(scores.mean()) == pytest.approx(expected, abs=4 * float(scores.std()) / math.sqrt(200_000))


def test_equal_answers_score_their_absolute_error() -> None:
    assert fair_crps(torch.full((4, 2), 0.25), torch.tensor([1.0, 0.0])).tolist() == [0.75, 0.25]


@pytest.mark.parametrize("count", [1, 3, 16, 40])
@pytest.mark.parametrize("levels", [0, 2, 5], ids=["continuous", "binary", "five values"])
def test_answers_like_the_truth_are_calibrated(count: int, levels: int) -> None:
    """Each truth has its own distribution, from which its answers are drawn too; discrete values are often equal."""
    number = 100_000
    drawn = normal(number) + normal(count + 1, number, seed=1)
    values = drawn.mul(levels / 3).round().clamp(0, levels - 1) if levels else drawn
    found = ranks(values[1:], values[0])
    assert float(coverage(found).mean()) == pytest.approx(0.9, abs=0.004)
    assert float(coverage(found, 0.5).mean()) == pytest.approx(0.5, abs=0.006)
    histogram = rank_histogram(in_a_row(found), torch.ones(1, number, dtype=torch.bool))[0]
    assert float(histogram.sum()) == pytest.approx(number)
    assert histogram.tolist() == pytest.approx([number / (count + 1)] * (count + 1), rel=0.1)


def test_answers_that_are_too_sure_cover_too_little() -> None:
    narrow, wide = (ranks(scale * normal(16, 20_000, seed=1), normal(20_000)) for scale in (0.5, 2.0))
    assert float(coverage(narrow).mean()) < 0.75 and float(coverage(wide).mean()) > 0.96


def test_ranks_are_those_drawn_at_random_on_average() -> None:
    answers, truth = torch.tensor([[0.0, 1, 2], [1, 1, 3], [1, 1, 3], [2, 1, 4]]), torch.tensor([1.0, 1, 0])
    found = ranks(answers, truth)
    assert (found.below.tolist(), found.equal.tolist()) == ([1, 0, 0], [2, 4, 0])
    draws = 20_000
    drawn = found.below + (torch.rand(draws, 3, generator=generator()) * (found.equal + 1)).long()
    place = (drawn + torch.rand(draws, 3, generator=generator(1))) / 5
    inside = ((place > 0.05) & (place < 0.95)).double().mean(dim=0)
    assert coverage(found).tolist() == pytest.approx(inside.tolist(), abs=0.01)
    expected = [torch.bincount(drawn[:, column], minlength=5) / draws for column in range(3)]
    histogram = rank_histogram(in_a_row(found), torch.tensor([[True, True, True]]))[0]
    assert histogram.tolist() == pytest.approx(sum(expected).tolist(), abs=0.03)
    without = rank_histogram(in_a_row(found), torch.tensor([[True, False, True]]))[0]
    assert without.tolist() == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3, 0])


def test_the_coverage_of_a_probability_is_that_of_many_answers() -> None:
    for probability in (0.0, 0.03, 0.3, 0.97, 1.0):
        count = 10_000
        set_ones = round(probability * count)
        answers = torch.cat([torch.ones(set_ones), torch.zeros(count - set_ones)])[:, None].expand(-1, 2)
        expected = coverage(ranks(answers, torch.tensor([0.0, 1.0])))
        found = bernoulli_coverage(torch.full((2,), probability), torch.tensor([False, True]))
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-3)
        share = (1 - probability) * found[0] + probability * found[1]
        assert float(share) == pytest.approx(0.9)
