"""The masked variational autoencoder (Kingma and Welling 2014, "Auto-Encoding Variational Bayes"; beta: Higgins et al. 2017,
"beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework").

    image * observed ─┐                                                    condition values
                      ├─ encoder ── features ── q(z|x) ── z ── projection ── decoder ── p(x|z) of the WHOLE image
    observed ─────────┘             [B,F,h,w]     │
                                         KL from N(0, I)

The objective is the ELBO, E[log p(x|z)] - beta KL(q(z|x) || p(z)), in closed form except for one draw of z, with beta = 1 for the
VAE. Where part of the image is masked, q is conditioned on less, and without a context the objective is still a bound on the
probability of the whole image. With one the decoder is shown what is observed, and it is none: shown pixels cost next to nothing.
Bounds are computed without masks and without a context. Where we depart from the papers: encoder and decoder (see
`vqkit.models.vqvae`), and condition values, which shift the features of the decoder.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from vqkit.interfaces import DataSpec
from vqkit.models.gaussian import Gaussian, standard_log_prob
from vqkit.models.latent import LatentOptions, PosteriorSample, VariationalModel, WeightedSample, build_head
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
        return Gaussian.from_parameters(self.head(features))

    def expected_latents(self, features: Tensor) -> Tensor:
        """See `LatentModel.expected_latents`: the posterior's mean."""
        return self.posterior(features).mean

    def sample_posterior(self, features: Tensor, noise: Tensor) -> PosteriorSample:
        """See `VariationalModel.sample_posterior`."""
        posterior = self.posterior(features)
        return PosteriorSample(posterior.rsample(noise[:, 0]), posterior.kl(), posterior)

    def sample_weighted(self, features: Tensor, noise: Tensor) -> WeightedSample:
        """See `VariationalModel.sample_weighted`."""
        posterior = self.posterior(features)
        latents = posterior.rsample(noise[:, 0])
        return WeightedSample(latents, standard_log_prob(latents.double()) - posterior.double().log_prob(latents.double()))


class BetaVAEOptions(LatentOptions):
    """Settings of the beta-VAE."""

    beta: float = Field(
        4.0,
        ge=0,
        description="Weight of the KL divergence; 1 is the VAE.",
    )


@MODELS.register("beta-vae")
class BetaVAE(VAE):
    """The VAE with weight beta on the KL divergence; its bounds are those of the VAE."""

    Options = BetaVAEOptions

    def __init__(self, options: BetaVAEOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.beta = options.beta
