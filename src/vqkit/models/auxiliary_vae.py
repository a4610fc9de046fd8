"""The masked auxiliary VAE (Maaløe et al. 2016, "Auxiliary Deep Generative Models", section 2.2).

    image * observed ─┐                        ┌─ q(a|x) ── a ──┐                          condition values
                      ├─ encoder ── features ──┤                ├─ q(z|a,x) ── z ── foot ── decoder ── p(x|z) of the WHOLE image
    observed ─────────┘             [B,F,h,w]  └────────────────┘              │
                                        └──────────────── p(a|x,z) ────────────┘

a is drawn first, then z. Averaged over a, q(z|x) is a mixture of many Gaussians, and so fits the true posterior better than the one
of the VAE; images are still made of z alone. The objective, a bound on log p(x) for every p(a|x,z), is

    E[log p(x|z) + log p(z) + log p(a|x,z) - log q(a|x) - log q(z|a,x)]

With p(a|x,z) = q(a|x) and q(z|a,x) = q(z|x) it is the VAE's, and this is where training starts: what a tells of z, and z of a, is
added to what the image tells by a small network that begins at zero. Where we depart from the paper: that; one encoder serves all
densities, and p(a|x,z) sees of x what it sees, the observed part (the bound holds for that too); the divergence of q(z|a,x) from
p(z) is in closed form; and what `vqkit.models.vqvae` says of its encoder and decoder.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from vqkit.interfaces import DataSpec
from vqkit.layers.residual import init_zero
from vqkit.models.gaussian import Gaussian, standard_log_density
from vqkit.models.latent import Drawn, LatentOptions, VariationalModel, Weighed, build_head
from vqkit.registry import MODELS


class ConditionalHead(nn.Module):
    """Features and latents to a Gaussian over other latents; at first the latents do not matter."""

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
        return Gaussian.of(parameters + self.correction(torch.cat([parameters, latents], dim=1)).float())


class Pair(NamedTuple):
    """Draws of both latents [B, L, ...] with the Gaussians that they are drawn from, and p(a|x,z) at these draws."""

    auxiliary: Tensor
    latents: Tensor
    auxiliary_posterior: Gaussian
    posterior: Gaussian
    auxiliary_model: Gaussian


@MODELS.register("auxiliary-vae")
class AuxiliaryVAE(VariationalModel):
    """The auxiliary VAE of this module; see there for the diagram. a and z have the same shape."""

    Options = LatentOptions
    draws: ClassVar[int] = 2

    def __init__(self, options: LatentOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.auxiliary_head = build_head(options, spec, 2 * options.latent_dim)
        self.posterior_head = ConditionalHead(options, spec)
        self.model_head = ConditionalHead(options, spec)

    def expected(self, features: Tensor) -> Tensor:
        """See `LatentModel.expected`: the mean of z given the mean of a."""
        posterior: Gaussian = self.posterior_head(features, Gaussian.of(self.auxiliary_head(features)).mean)
        return posterior.mean

    def draw(self, features: Tensor, noise: Tensor) -> Drawn:
        """See `VariationalModel.draw`. The divergence is an estimate from these draws as to a, and exact as to z given a."""
        pair = self._pair(features, noise)
        auxiliary = pair.auxiliary_posterior.log_density(pair.auxiliary) - pair.auxiliary_model.log_density(pair.auxiliary)
        return Drawn(pair.latents, pair.posterior.divergence() + auxiliary, pair.posterior)

    def weigh(self, features: Tensor, noise: Tensor) -> Weighed:
        """See `VariationalModel.weigh`; the densities are those of both latents."""
        pair = self._pair(features, noise)
        auxiliary, latents = pair.auxiliary.double(), pair.latents.double()
        prior = standard_log_density(latents) + pair.auxiliary_model.double().log_density(auxiliary)
        posterior = pair.posterior.double().log_density(latents) + pair.auxiliary_posterior.double().log_density(auxiliary)
        return Weighed(pair.latents, prior - posterior)

    def _pair(self, features: Tensor, noise: Tensor) -> Pair:
        auxiliary_posterior = Gaussian.of(self.auxiliary_head(features))
        auxiliary = auxiliary_posterior.at(noise[:, 0])
        posterior: Gaussian = self.posterior_head(features, auxiliary)
        latents = posterior.at(noise[:, 1])
        return Pair(auxiliary, latents, auxiliary_posterior, posterior, self.model_head(features, latents))
