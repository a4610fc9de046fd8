"""What features tell: evidence that an encoder has learned something, without training anything but a closed formula.

Shapes: N training images, M held-out images, F features, T targets. Everything is float64 on the processor and deterministic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 20
"""Training images that vote on the class of a held-out one."""
_RIDGE = 1e-3
"""Weight of the squared coefficients beside the mean squared error, for features of deviation 1."""


def feature_std(features: Tensor) -> float:
    """Deviation of the directions of features [N, F] over the images: 0 when all are alike (collapse), at most 1.

    The root of the mean squared distance of the normalised features from their mean (after Chen and He 2021, "Exploring Simple
    Siamese Representation Learning", figure 2).
    """
    directions = F.normalize(features.double(), dim=1)
    return float((directions - directions.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def neighbour_accuracy(features: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> float:
    """Share of held-out images [M, F] whose class is that of most of the `NEIGHBOURS` training images [N, F] of the nearest
    directions; labels are int64 [N] and [M], and of classes with equally many votes the first counts.
    """
    cosines = F.normalize(held_out.double(), dim=1) @ F.normalize(features.double(), dim=1).T
    nearest = cosines.topk(min(NEIGHBOURS, len(features)), dim=1).indices
    votes = F.one_hot(labels[nearest], int(labels.max()) + 1).sum(dim=1)
    return float((votes.argmax(dim=1) == held_out_labels).double().mean())


def linear_accuracy(features: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> float:
    """Share of held-out images whose class is the largest in a `ridge` regression on the classes; shapes as above."""
    wanted = F.one_hot(labels, int(labels.max()) + 1).double()
    return float((ridge(features, wanted, held_out).argmax(dim=1) == held_out_labels).double().mean())


def r2_score(features: Tensor, values: Tensor, held_out: Tensor, held_out_values: Tensor) -> float | None:
    """R^2 of held-out values [M] that a `ridge` regression on training values [N] foretells: 1 at best, 0 for their mean.

    Values may be NaN; None where fewer than two held-out values are known, or all are equal.
    """
    known, evaluated = values.isfinite(), held_out_values.isfinite()
    truth = held_out_values[evaluated].double()
    if not known.any() or len(truth) < 2 or truth.min() == truth.max():
        return None
    predicted = ridge(features[known], values[known, None].double(), held_out[evaluated])[:, 0]
    return float(1 - (predicted - truth).square().mean() / truth.var(correction=0))


def ridge(features: Tensor, wanted: Tensor, held_out: Tensor) -> Tensor:
    """What a linear function of the features [N, F], fitted to `wanted` [N, T] with a small penalty, says of others: [M, T]."""
    features, held_out = features.double(), held_out.double()
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-12)
    rows, others, middle = (features - mean) / deviation, (held_out - mean) / deviation, wanted.mean(dim=0)
    penalty = _RIDGE * torch.eye(rows.shape[1], dtype=torch.float64)
    coefficients = torch.linalg.solve(rows.T @ rows / len(rows) + penalty, rows.T @ (wanted - middle) / len(rows))
    return others @ coefficients + middle


def principal_plane(features: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Features [M, F] on their two principal axes, [M, 2], and the share of the variance along each."""
    centred = features.double() - features.double().mean(dim=0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    plane = axes[:, -2:].flip(1)
    # An axis has no sign of its own: its largest coordinate is made positive.
    largest = plane.gather(0, plane.abs().argmax(dim=0, keepdim=True))
    shares = (variances[-2:].flip(0).clamp_min(0) / variances.sum().clamp_min(1e-300)).tolist()
    return centred @ (plane * largest.sign()), (shares[0], shares[1])
