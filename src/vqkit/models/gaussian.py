"""Gaussians with independent dimensions, one for each image of a batch."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_WIDEST = 14.0
"""Largest log-variance, either way: beyond it float32 has nothing left to tell."""


class Gaussian(NamedTuple):
    """`mean` and `log_variance`, each float32 [B, ...] with all dimensions after the first."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def of(cls, parameters: Tensor) -> Gaussian:
        """Of a network's output [B, 2 L, ...] in any precision: L means, then L log-variances."""
        mean, log_variance = parameters.float().chunk(2, dim=1)
        # In memory of its own: a product with half of a larger tensor may round differently from one with a copy of it.
        return cls(mean.contiguous(), log_variance.clamp(-_WIDEST, _WIDEST))

    def double(self) -> Gaussian:
        """The same in float64."""
        return Gaussian(self.mean.double(), self.log_variance.double())

    @property
    def deviation(self) -> Tensor:
        """Standard deviations."""
        return (0.5 * self.log_variance).exp()

    def at(self, noise: Tensor) -> Tensor:
        """The draws that belong to standard normal noise of the same shape."""
        return self.mean + self.deviation * noise

    def log_density(self, points: Tensor) -> Tensor:
        """Logarithm of the density at one point for each image, [B]."""
        standard = (points - self.mean) / self.deviation
        return (-0.5 * (standard.square() + self.log_variance + math.log(2 * math.pi))).flatten(1).sum(dim=1)

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence to the standard normal in nats, [B]."""
        return (0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)).flatten(1).sum(dim=1)


def standard_log_density(points: Tensor) -> Tensor:
    """Logarithm of the standard normal density at points [B, ...], [B]."""
    return Gaussian(torch.zeros_like(points), torch.zeros_like(points)).log_density(points)
