"""Which of several answers to one image comes first: the most likely one, or the one nearest to the others and to one pass.

The codes of the most likely answer have the highest probability under the prior, which says little about its pixels. Consensus
takes the others as a sample of what the truth may be, and prefers the answer with the least expected error to it under the metric
that is reported (minimum Bayes risk decoding: Kumar and Byrne 2004). Sixteen answers are a small sample, of a prior that is not the
truth's distribution; the answer of one pass of the model is another estimate, of every pixel by itself but from all of the training
images. It counts as much as all other answers together: a choice made on validation images of shapes, where the answer chosen this
way was nearer to the truth than that of either half alone, and than one pass.
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


def expected_errors(answers: Tensor, one_pass: Tensor, missing: Tensor, spec: DataSpec) -> Tensor:
    """The expected error of each of K answers, float64 [B, K]; NaN for K = 1.

    Half of it is the mean error with each of the other answers taken as the truth, half that with the answer of one pass.
    `answers` [B, K, C, H, W] and `one_pass` [B, C, H, W]: unit values of final images; `missing` bool [B, C, H, W]: where they may
    differ. The error is that which `evaluate` reports: 1 - IoU, averaged over the components that miss something, for binary data,
    and the mean squared error over all missing pixels for intensities and for mixed data. 0 where nothing is missing.
    """
    count = answers.shape[1]
    if count == 1:
        return torch.full(answers.shape[:2], torch.nan, dtype=torch.float64)
    if spec.value_kind == "binary":
        counted = missing.flatten(2).any(dim=2)
        shapes = torch.cat([answers, one_pass[:, None]], dim=1) >= _SET
        of_components = shape_distances(shapes, missing)[:, :, :count]
        distances = (of_components * counted[:, :, None, None]).sum(dim=1) / counted.sum(dim=1).clamp_min(1)[:, None, None]
        return (distances[..., :count].sum(dim=2) / (count - 1) + distances[..., count]) / 2
    pixels = missing.flatten(1).sum(dim=1).clamp_min(1)[:, None]
    spread = _squared_distances(answers, answers.mean(dim=1), missing)
    # The squared distances of an answer to all K: K times that to their mean, and those of all of them to their mean.
    to_others = (count * spread + spread.sum(dim=1, keepdim=True)) / (count - 1)
    return (to_others + _squared_distances(answers, one_pass, missing)) / (2 * pixels)


def _squared_distances(answers: Tensor, image: Tensor, missing: Tensor) -> Tensor:
    """The squared distance of each answer [B, K, C, H, W] to an image [B, C, H, W] over what is missing, float64 [B, K]."""
    differences = torch.where(missing[:, None], answers - image[:, None], 0)
    return differences.square().flatten(2).sum(dim=2, dtype=torch.float64)


def shape_distances(shapes: Tensor, judged: Tensor) -> Tensor:
    """1 - IoU of every pair of shapes, float64 [B, C, K, K], of bool [B, K, C, H, W] where `judged` [B, C, H, W].

    Two empty shapes agree.
    """
    inside = (shapes & judged[:, None]).transpose(1, 2).flatten(3).float()
    both = inside @ inside.transpose(2, 3)
    sizes = both.diagonal(dim1=2, dim2=3)
    either = sizes[..., :, None] + sizes[..., None, :] - both
    return torch.where(either > 0, 1 - both.double() / either.clamp_min(1), 0.0)
