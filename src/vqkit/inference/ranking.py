"""Which of several answers to one image comes first: the most likely one, or the one that the others agree with.

The codes of the most likely answer have the highest probability under the prior, which says little about its pixels. Consensus
takes the others as a sample of what the truth may be, and prefers the answer with the least expected error to it under the metric
that is reported (minimum Bayes risk decoding: Kumar and Byrne 2004).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec

Rank = Literal["likelihood", "consensus"]
RANKS: tuple[Rank, ...] = get_args(Rank)
DEFAULT_RANK: Rank = "consensus"
_SET = 0.5
"""A pixel of a binary component is set from this value on."""


def parse_rank(name: str) -> Rank:
    """A way of ranking by its name. Raises `ConfigError` for another word."""
    for rank in RANKS:
        if rank == name:
            return rank
    raise ConfigError(f"Answers cannot be ranked by '{name}'.", f"Known: {', '.join(RANKS)}.")


def expected_errors(answers: Tensor, missing: Tensor, spec: DataSpec) -> Tensor:
    """The mean error of each of K answers, with each of the others taken as the truth, float64 [B, K]; NaN for K = 1.

    `answers` unit values [B, K, C, H, W]; `missing` bool [B, C, H, W]: where they may differ. The error is that which `evaluate`
    reports: 1 - IoU, averaged over the components that miss something, for binary data, and the mean squared error over all missing
    pixels for intensities and for mixed data. 0 where nothing is missing.
    """
    count = answers.shape[1]
    if count == 1:
        return torch.full(answers.shape[:2], torch.nan, dtype=torch.float64)
    if spec.value_kind == "binary":
        counted = missing.flatten(2).any(dim=2)
        distances = shape_distances(answers >= _SET, missing).sum(dim=3) / (count - 1)
        return (distances * counted[:, :, None]).sum(dim=1) / counted.sum(dim=1).clamp_min(1)[:, None]
    from_mean = torch.where(missing[:, None], answers - answers.mean(dim=1, keepdim=True), 0)
    spread = from_mean.square().flatten(2).sum(dim=2, dtype=torch.float64)
    # The squared distances of an answer to all K: K times that to their mean, and those of all of them to their mean.
    total = count * spread + spread.sum(dim=1, keepdim=True)
    return total / ((count - 1) * missing.flatten(1).sum(dim=1).clamp_min(1)[:, None])


def shape_distances(shapes: Tensor, judged: Tensor) -> Tensor:
    """1 - IoU of every pair of shapes, float64 [B, C, K, K], of bool [B, K, C, H, W] where `judged` [B, C, H, W].

    Two empty shapes agree.
    """
    inside = (shapes & judged[:, None]).transpose(1, 2).flatten(3).float()
    both = inside @ inside.transpose(2, 3)
    sizes = both.diagonal(dim1=2, dim2=3)
    either = sizes[..., :, None] + sizes[..., None, :] - both
    return torch.where(either > 0, 1 - both.double() / either.clamp_min(1), 0.0)
