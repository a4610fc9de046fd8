"""Probes of learned features: collapse, nearest neighbours, and linear probes in closed form, without training.

Shapes: N training images, M held-out images, F features, T targets. Everything is float64 on the processor and deterministic.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_NEIGHBOURS = 20
"""Number of nearest training images that vote on the class of a held-out image (k of k-NN)."""
_RIDGE = 1e-3
"""Ridge penalty relative to the mean squared error, for standardised features."""


def feature_std(features: Tensor) -> float:
    """Standard deviation over the images of l2-normalised features [N, F]: 0 if all are equal (collapse), at most 1.

    The root of the mean squared distance of the normalised features from their mean, as in Chen and He 2021, "Exploring Simple
    Siamese Representation Learning", figure 2.
    """
    directions = F.normalize(features.double(), dim=1)
    return float((directions - directions.mean(dim=0)).square().sum(dim=1).mean().sqrt())


def neighbour_accuracy(features: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> float:
    """Accuracy of a k-nearest-neighbour classifier by cosine similarity, with k = `NUM_NEIGHBOURS` training images [N, F], on
    held-out images [M, F]. Labels are int64 [N] and [M]; ties go to the class with the smaller number.
    """
    cosines = F.normalize(held_out.double(), dim=1) @ F.normalize(features.double(), dim=1).T
    nearest = cosines.topk(min(NUM_NEIGHBOURS, len(features)), dim=1).indices
    votes = F.one_hot(labels[nearest], int(labels.max()) + 1).sum(dim=1)
    return float((votes.argmax(dim=1) == held_out_labels).double().mean())


def linear_accuracy(features: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> float:
    """Accuracy of a linear classifier, a `ridge` regression on one-hot classes, on held-out images; shapes as above."""
    targets = F.one_hot(labels, int(labels.max()) + 1).double()
    return float((ridge(features, targets, held_out).argmax(dim=1) == held_out_labels).double().mean())


def r2_score(features: Tensor, values: Tensor, held_out: Tensor, held_out_values: Tensor) -> float | None:
    """R^2 on held-out values [M] of a `ridge` regression fitted to training values [N]: 1 is perfect, 0 predicts the mean.

    Values may be NaN; None where fewer than two held-out values are known, or all are equal.
    """
    known, evaluated = values.isfinite(), held_out_values.isfinite()
    truth = held_out_values[evaluated].double()
    if not known.any() or len(truth) < 2 or truth.min() == truth.max():
        return None
    predicted = ridge(features[known], values[known, None].double(), held_out[evaluated])[:, 0]
    return float(1 - (predicted - truth).square().mean() / truth.var(correction=0))


def ridge(features: Tensor, targets: Tensor, held_out: Tensor) -> Tensor:
    """Ridge regression of `targets` [N, T] on features [N, F], evaluated at held-out features: predictions [M, T]."""
    features, held_out = features.double(), held_out.double()
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0).clamp_min(1e-12)
    rows, others, middle = (features - mean) / deviation, (held_out - mean) / deviation, targets.mean(dim=0)
    penalty = _RIDGE * torch.eye(rows.shape[1], dtype=torch.float64)
    coefficients = torch.linalg.solve(rows.T @ rows / len(rows) + penalty, rows.T @ (targets - middle) / len(rows))
    return others @ coefficients + middle


def principal_plane(features: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Projection of features [M, F] on their first two principal components, [M, 2], and the share of variance of each."""
    centred = features.double() - features.double().mean(dim=0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    plane = axes[:, -2:].flip(1)
    # The sign of a component is arbitrary: its largest coordinate is made positive.
    largest = plane.gather(0, plane.abs().argmax(dim=0, keepdim=True))
    shares = (variances[-2:].flip(0).clamp_min(0) / variances.sum().clamp_min(1e-300)).tolist()
    return centred @ (plane * largest.sign()), (shares[0], shares[1])
