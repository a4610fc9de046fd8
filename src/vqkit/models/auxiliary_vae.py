"""The masked auxiliary VAE (Maaløe et al. 2016, "Auxiliary Deep Generative Models", section 2.2).

    image * observed ─┐                        ┌─ q(a|x) ── a ──┐                                condition values
                      ├─ encoder ── features ──┤                ├─ q(z|a,x) ── z ── projection ── decoder ── p(x|z), WHOLE image
    observed ─────────┘             [B,F,h,w]  └────────────────┘              │
                                        └──────────────── p(a|x,z) ────────────┘

a is drawn first, then z. Marginalised over a, q(z|x) is a continuous mixture of Gaussians, which can fit the true posterior better
than the single Gaussian of the VAE; images are still decoded from z alone. The objective, a bound on log p(x) for every p(a|x,z),
is

    E[log p(x|z) + log p(z) + log p(a|x,z) - log q(a|x) - log q(z|a,x)]

With p(a|x,z) = q(a|x) and q(z|a,x) = q(z|x) it is the objective of the VAE, and this is where training starts: the dependence of z
on a, and of a on z, is a correction by a small network that is initialised to zero. Where we depart from the paper: that; one
encoder serves all densities, so p(a|x,z) too is conditioned on the observed part of x only (the bound still holds); the KL
divergence of q(z|a,x) from p(z) is in closed form; encoder and decoder (see `vqkit.models.vqvae`).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vqkit.interfaces import DataSpec
from vqkit.layers.residual import init_zero
from vqkit.models.gaussian import Gaussian, standard_log_prob
from vqkit.models.latent import LatentOptions, PosteriorSample, VariationalModel, WeightedSample, build_head
from vqkit.registry import MODELS


class ConditionalHead(nn.Module):
    """Features and latents to a Gaussian over other latents; at initialisation it does not depend on the latents."""

    def __init__(self, options: LatentOptions, spec: DataSpec) -> None:
        super().__init__()
        size = options.latent_dim
        self.head = build_head(options, spec, 2 * size)
        self.correction = nn.Sequential(nn.Conv2d(3 * size, 4 * size, 1), nn.SiLU(), nn.Conv2d(4 * size, 2 * size, 1))
        last = self.correction[-1]
        assert isinstance(last, nn.Conv2d)
        init_zero(last)

    def forward(self, features: Tensor, latents: Tensor) -> Gaussian:
        """Features [B, hidden, h, w] and latents [B, L, ...] to a Gaussian over [B, L, ...]."""
        parameters = self.head(features).float()
        return Gaussian.from_parameters(parameters + self.correction(torch.cat([parameters, latents], dim=1)).float())


class Pair(NamedTuple):
    """Draws of both latents [B, L, ...], the Gaussians that they are drawn from, and p(a|x,z) given these draws."""

    auxiliary: Tensor
    latents: Tensor
    auxiliary_posterior: Gaussian
    posterior: Gaussian
    auxiliary_model: Gaussian


@MODELS.register("auxiliary-vae")
class AuxiliaryVAE(VariationalModel):
    """The auxiliary VAE of this module; see there for the diagram. a and z have the same shape."""

    Options = LatentOptions
    noise_tensors: ClassVar[int] = 2

    def __init__(self, options: LatentOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.auxiliary_head = build_head(options, spec, 2 * options.latent_dim)
        self.posterior_head = ConditionalHead(options, spec)
        self.model_head = ConditionalHead(options, spec)

    def expected_latents(self, features: Tensor) -> Tensor:
        """See `LatentModel.expected_latents`: the mean of z given the mean of a."""
        posterior: Gaussian = self.posterior_head(features, Gaussian.from_parameters(self.auxiliary_head(features)).mean)
        return posterior.mean

    def sample_posterior(self, features: Tensor, noise: Tensor) -> PosteriorSample:
        """See `VariationalModel.sample_posterior`. The KL divergence is estimated for a, and exact for z given a."""
        pair = self._pair(features, noise)
        auxiliary = pair.auxiliary_posterior.log_prob(pair.auxiliary) - pair.auxiliary_model.log_prob(pair.auxiliary)
        return PosteriorSample(pair.latents, pair.posterior.kl() + auxiliary, pair.posterior)

    def sample_weighted(self, features: Tensor, noise: Tensor) -> WeightedSample:
        """See `VariationalModel.sample_weighted`; the densities are those of both latents."""
        pair = self._pair(features, noise)
        auxiliary, latents = pair.auxiliary.double(), pair.latents.double()
        prior = standard_log_prob(latents) + pair.auxiliary_model.double().log_prob(auxiliary)
        posterior = pair.posterior.double().log_prob(latents) + pair.auxiliary_posterior.double().log_prob(auxiliary)
        return WeightedSample(pair.latents, prior - posterior)

    def _pair(self, features: Tensor, noise: Tensor) -> Pair:
        auxiliary_posterior = Gaussian.from_parameters(self.auxiliary_head(features))
        auxiliary = auxiliary_posterior.rsample(noise[:, 0])
        posterior: Gaussian = self.posterior_head(features, auxiliary)
        latents = posterior.rsample(noise[:, 1])
        return Pair(auxiliary, latents, auxiliary_posterior, posterior, self.model_head(features, latents))
