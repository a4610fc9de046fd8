"""The contract of autoencoders that are distributions over images: they draw new ones, and bound the probability of given ones."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from vqkit.interfaces import Autoencoder
from vqkit.likelihoods import Likelihood


class GenerativeAutoencoder(Autoencoder):
    """An autoencoder with a prior over what is in its bottleneck. `likelihood`: how it judges a pixel."""

    likelihood: Likelihood

    @abstractmethod
    def sample(self, conditions: Tensor, seed: int = 0, first: int = 0, temperature: float = 1.0) -> Tensor:
        """Expected images float32 [B, C, H, W] in [0, 1] of draws from the prior, for conditions [B, D] (NaN: unknown).

        `first`: number of the first sample, so that a sample is a function of the seed, its number and its conditions, however the
        samples are cut into batches; `temperature` multiplies the prior's deviation.
        """

    @abstractmethod
    def log_weights(self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """log p(x, z) - log q(z | x) in nats, float64 [samples, B], for draws z from the posterior of WHOLE images [B, C, H, W].

        Their mean over the samples estimates the ELBO; see `bound`. `generator` draws on the CPU. Raises `ConfigError` where an
        image has no probability (see `likelihoods.log_probability`).
        """

    def bound(self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """A lower bound on log p(x) in nats, float64 [B]: importance-weighted with `samples` draws; 1: the ELBO, in expectation.

        Burda et al. 2016, "Importance Weighted Autoencoders", equation 8. Arguments and errors are those of `log_weights`.
        """
        return importance_bound(self.log_weights(images, conditions, samples, generator))


def importance_bound(log_weights: Tensor) -> Tensor:
    """The importance-weighted bound [B] of log weights [samples, B]: the logarithm of the mean weight."""
    return log_weights.logsumexp(dim=0) - math.log(len(log_weights))
