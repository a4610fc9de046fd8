"""Scores of K answers as a sample of what the truth may be: the continuous ranked probability score, ranks, and coverage.

If the truth is as probable as any of the answers, all K + 1 values have the same distribution, and the rank of the truth among them
is one of 0 to K with equal probability, whatever the distribution and K. So coverage is defined by ranks: an interval between
quantiles of few answers would be too narrow. Equal values share their ranks evenly, the expectation of ranks drawn at random
(Hamill 2001), so that nothing is random here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEVEL = 0.9
"""The probability of central intervals, of which the coverage is measured."""


def fair_crps(answers: Tensor, truth: Tensor) -> Tensor:
    """The fair continuous ranked probability score of answers [K, ...] for a truth [...], float64 [...]; K is at least 2.

    mean |x_k - y| - sum over pairs |x_j - x_k| / (K (K - 1)), an unbiased estimate, from K of its samples, of the score of the
    distribution that the answers are drawn from (Ferro 2014). For one deterministic answer the score is the absolute error. Of
    values 0 and 1 it is the fair Brier score.
    """
    count = len(answers)
    ordered = answers.double().sort(dim=0).values
    # In increasing order, the k-th answer is the larger one in k pairs, and the smaller one in count - 1 - k.
    weights = torch.arange(count, device=answers.device).mul(2).sub(count - 1).double()
    pairs = torch.tensordot(weights, ordered, dims=1)
    return (ordered - truth).abs().mean(dim=0) - pairs / (count * (count - 1))


class Ranks(NamedTuple):
    """Of a truth, how many of K = `answers` are `below` it and `equal` to it, int64 [...] each."""

    below: Tensor
    equal: Tensor
    answers: int


def ranks(answers: Tensor, truth: Tensor) -> Ranks:
    """The ranks of a truth [...] among answers [K, ...]."""
    return Ranks((answers < truth).sum(dim=0), (answers == truth).sum(dim=0), len(answers))


def coverage(found: Ranks, level: float = LEVEL) -> Tensor:
    """The probability with which each truth is in the central interval, float64 [...].

    The rank is cut from 0 to K + 1 into intervals of length 1, and a truth is anywhere in its own (or in those that it shares with
    equal answers). It is covered where this is between (1 - level) / 2 and (1 + level) / 2 of K + 1. If the truth is as
    probable as any answer, the mean is exactly `level`, for every K.
    """
    start = found.below.double() / (found.answers + 1)
    return _share_inside(start, start + (found.equal + 1) / (found.answers + 1), level)


def bernoulli_coverage(probability: Tensor, truth: Tensor, level: float = LEVEL) -> Tensor:
    """`coverage` of a truth, bool [...], in the limit of infinitely many answers that are set with a probability [...]."""
    unset = 1 - probability.double()
    return _share_inside(torch.where(truth, unset, 0), torch.where(truth, 1, unset), level)


def rank_histogram(found: Ranks, counted: Tensor) -> Tensor:
    """How many of the truths `counted` (bool [B, N]) have each of the ranks 0 to K, float64 [B, K + 1], for ranks [B, N].

    A truth that equals some answers counts in equal parts for each of the ranks that it may have.
    """
    share = counted / (found.equal + 1.0).double()
    changes = torch.zeros(len(counted), found.answers + 2, dtype=torch.float64, device=counted.device)
    changes.scatter_add_(1, found.below, share)
    changes.scatter_add_(1, found.below + found.equal + 1, -share)
    return changes.cumsum(dim=1)[:, :-1].clamp_min(0)


def _share_inside(start: Tensor, end: Tensor, level: float) -> Tensor:
    """The share of the interval from `start` to `end` that is in the central part of [0, 1]; 0 for one of length 0."""
    inside = end.clamp(max=(1 + level) / 2) - start.clamp(min=(1 - level) / 2)
    return inside.clamp_min(0) / (end - start).clamp_min(torch.finfo(torch.float64).tiny)
