"""Barlow Twins (Zbontar et al. 2021, "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", section 2).

    view 1 ─┐                                        ┌─ z1 ─┐
            ├─ encoder ── mean ── projector ─────────┤      ├─ cross-correlation over the batch ── towards the identity
    view 2 ─┘             [B,F]             [B,P]    └─ z2 ─┘              [P,P]

Each dimension of the projection should agree between the views, and different dimensions should be uncorrelated:

    sum_i (1 - C_ii)^2 + redundancy_weight * sum_i sum_{j != i} C_ij^2

where C is the cross-correlation matrix of z1 and z2 over the global batch (equations 1 and 2). Where we depart from the paper:
the sum is divided by P, so that it does not grow with the projection, and the projector is small.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from vqkit.interfaces import EncoderPart
from vqkit.interfaces.methods import LossOutput, PretrainingMethod, View
from vqkit.pretraining.method import Projector, ProjectorOptions, gathered_features
from vqkit.registry import METHODS

_EPS = 1e-8
"""Added to variances, so that a constant dimension has zero correlation and a finite gradient."""


class BarlowTwinsOptions(ProjectorOptions):
    """Settings of Barlow Twins."""

    redundancy_weight: float = Field(5e-3, ge=0, description="Weight of the redundancy reduction term (off-diagonal correlations).")


@METHODS.register("barlow-twins")
class BarlowTwins(PretrainingMethod):
    """Barlow Twins; see the module docstring for the loss."""

    Options = BarlowTwinsOptions

    def __init__(self, options: BarlowTwinsOptions, encoder: EncoderPart) -> None:
        super().__init__()
        self._weight = options.redundancy_weight
        self.projector = Projector(encoder.channels, options.hidden, options.dim)

    def forward(self, encoder: EncoderPart, first: View, second: View, progress: float) -> LossOutput:
        """See `PretrainingMethod.forward`. Monitors: invariance and redundancy, the two sums divided by P, unweighted."""
        del progress
        one, other = (self.projector(rows) for rows in gathered_features(encoder, first, second))
        invariance, redundancy = correlation_losses(one, other)
        loss = invariance + self._weight * redundancy
        return LossOutput(loss, {"invariance": invariance, "redundancy": redundancy})


def correlation_losses(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Invariance and redundancy of projections float32 [N, P]: squared distances of the diagonal of the cross-correlation matrix
    from 1, and of its other elements from 0, each summed and divided by P.
    """
    with torch.autocast(one.device.type, enabled=False):
        correlation = _standardised(one).T @ _standardised(other) / len(one)
    diagonal = correlation.diagonal()
    invariance = (1 - diagonal).square().sum()
    redundancy = correlation.square().sum() - diagonal.square().sum()
    return invariance / len(diagonal), redundancy / len(diagonal)


def _standardised(rows: Tensor) -> Tensor:
    """Rows [N, P] standardised to mean 0 and variance 1 in each dimension."""
    centred = rows - rows.mean(dim=0)
    return centred * (centred.square().mean(dim=0) + _EPS).rsqrt()
