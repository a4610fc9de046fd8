"""Gaussians with independent dimensions, one for each image of a batch.

They are parametrised by the log-variance. `torch.distributions.Normal` holds the standard deviation instead, from whose square and
logarithm it computes log densities and KL divergences: mathematically the same (which the tests check), but rounded
differently, less precisely for small variances. Noise is passed in, so that a draw is a function of a key.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_MAX_LOG_VARIANCE = 14.0
"""Bound of the log-variance, either way: float32 cannot resolve more beside a mean of order 1."""


class Gaussian(NamedTuple):
    """`mean` and `log_variance`, float32 [B, ...] each, where all dimensions after the first are independent."""

    mean: Tensor
    log_variance: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor) -> Gaussian:
        """From the output [B, 2 L, ...] of a network in any precision: L means, then L log-variances."""
        mean, log_variance = parameters.float().chunk(2, dim=1)
        # Contiguous: matrix products may round differently for a view of a larger tensor than for a tensor of its own, and
        # reconstruct(), which decodes the mean, must give the same bits as forward() without noise.
        return cls(mean.contiguous(), log_variance.clamp(-_MAX_LOG_VARIANCE, _MAX_LOG_VARIANCE))

    def double(self) -> Gaussian:
        """The same Gaussian in float64."""
        return Gaussian(self.mean.double(), self.log_variance.double())

    @property
    def std(self) -> Tensor:
        """Standard deviations [B, ...]."""
        return (0.5 * self.log_variance).exp()

    def rsample(self, noise: Tensor) -> Tensor:
        """The reparameterised draws [B, ...] for standard normal noise of the same shape."""
        return self.mean + self.std * noise

    def log_prob(self, points: Tensor) -> Tensor:
        """Log density [B] at one point [B, ...] for each image, summed over dimensions."""
        standard = (points - self.mean) / self.std
        return (-0.5 * (standard.square() + self.log_variance + math.log(2 * math.pi))).flatten(1).sum(dim=1)

    def kl(self) -> Tensor:
        """Kullback-Leibler divergence [B] from the standard normal, in nats, summed over dimensions."""
        return (0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)).flatten(1).sum(dim=1)


def standard_log_prob(points: Tensor) -> Tensor:
    """Log density [B] of the standard normal at points [B, ...], summed over dimensions."""
    return Gaussian(torch.zeros_like(points), torch.zeros_like(points)).log_prob(points)
