"""The masked variational autoencoder (Kingma and Welling 2014, "Auto-Encoding Variational Bayes"; beta: Higgins et al. 2017,
"beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework").

    image * observed ─┐                                              condition values
                      ├─ encoder ── features ── q(z|x) ── z ── foot ── decoder ── p(x|z) of the WHOLE image
    observed ─────────┘             [B,F,h,w]     │
                                         divergence from N(0, I)

The objective is the ELBO, E[log p(x|z)] - beta KL(q(z|x) || p(z)), in closed form but for the draw of z, with beta = 1 for the VAE.
Where part of the image is hidden, q sees less, and the objective is still a bound on the probability of the whole image. Where we
depart from the papers: what `vqkit.models.vqvae` says of its encoder and decoder, and conditions, which shift the decoder.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from vqkit.interfaces import DataSpec
from vqkit.models.gaussian import Gaussian, standard_log_density
from vqkit.models.latent import Drawn, LatentOptions, VariationalModel, Weighed, build_head
from vqkit.registry import MODELS


@MODELS.register("vae")
class VAE(VariationalModel):
    """The VAE of this module; see there for the diagram."""

    Options = LatentOptions

    def __init__(self, options: LatentOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.head = build_head(options, spec, 2 * options.latent_dim)

    def posterior(self, features: Tensor) -> Gaussian:
        """q(z|x) of features [B, hidden, h, w]."""
        return Gaussian.of(self.head(features))

    def expected(self, features: Tensor) -> Tensor:
        """See `LatentModel.expected`: the posterior's mean."""
        return self.posterior(features).mean

    def draw(self, features: Tensor, noise: Tensor) -> Drawn:
        """See `VariationalModel.draw`."""
        posterior = self.posterior(features)
        return Drawn(posterior.at(noise[:, 0]), posterior.divergence(), posterior)

    def weigh(self, features: Tensor, noise: Tensor) -> Weighed:
        """See `VariationalModel.weigh`."""
        posterior = self.posterior(features)
        latents = posterior.at(noise[:, 0])
        return Weighed(latents, standard_log_density(latents.double()) - posterior.double().log_density(latents.double()))


class BetaVAEOptions(LatentOptions):
    """Settings of the beta-VAE."""

    beta: float = Field(4.0, ge=0, description="Weight of the divergence; 1: the VAE, more: fewer and more independent dimensions.")


@MODELS.register("beta-vae")
class BetaVAE(VAE):
    """The VAE with another weight of the divergence; its bounds are those of the VAE."""

    Options = BetaVAEOptions

    def __init__(self, options: BetaVAEOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.beta = options.beta
