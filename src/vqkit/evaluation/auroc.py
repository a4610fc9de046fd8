"""How well a score tells two kinds of images apart: the area under the receiver operating characteristic."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Auroc:
    """The share of pairs in which the score of the other image is the higher one, equal scores counting half.

    `standard_error`: of drawing these images, by DeLong et al. 1988; None for a single image of a kind.
    """

    area: float
    standard_error: float | None


def auroc(usual: Tensor, other: Tensor) -> Auroc:
    """From scores [N] of usual images and [M] of others, which should be higher. Raises `ValueError` for none of a kind, or NaN."""
    if not len(usual) or not len(other):
        raise ValueError("there are no scores of one kind")
    usual, other = usual.double(), other.double()
    if bool(usual.isnan().any() | other.isnan().any()):
        raise ValueError("a score is not a number")
    below = _shares_below(usual, other)  # of each other image, the share of usual ones that have a lower score
    above = 1 - _shares_below(other, usual)
    error = None
    if len(usual) > 1 and len(other) > 1:
        error = float((below.var() / len(other) + above.var() / len(usual)).sqrt())
    return Auroc(float(below.mean()), error)


def _shares_below(sample: Tensor, values: Tensor) -> Tensor:
    """For each of the values [M], the share of a sample [N] that is smaller, what is equal counting half, float64 [M]."""
    ordered = sample.sort().values
    counts = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    return counts.double() / (2 * len(sample))
