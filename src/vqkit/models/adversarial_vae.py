"""The masked adversarial VAE (Plumerault et al. 2020, "AVAE: Adversarial Variational Auto Encoder", arXiv 2012.11551).

    image * observed ─┐                                                        condition values
                      ├─ encoder ── features ── q(z|x) ── z ── projection ── decoder ── p(x|z) of the WHOLE image
    observed ─────────┘             [B,F,h,w]

    z from N(0, I) ───┬── projection ── decoder ──┐            ┌── discriminator ── real or fake?
                      │                           + ── fake ───┤
    xi from N(0, I) ──┴───────── generator ───────┘            └── encoder ── its mean: z again?

The latents z of a VAE describe the main content of an image, and its reconstructions are blurred. A generator, a network of its
own, adds the details to the logits of the VAE's decoder, given z and noise xi. It minimises

    -D(fake) + code_weight * sum_d w_d 1/2 (z_d - mu_d(fake))^2,    w = softmax(-2 log sigma(fake)) over the dimensions d

so that its images look real and are encoded as z again, above all in the dimensions with a small posterior variance. mu and sigma
are those of q(z|fake), w is a constant, and the encoder gets no gradient from the adversarial loss. The VAE minimises its negative
ELBO, the discriminator the binary cross-entropy of its logits. VAE, generator and discriminator are three networks with an
optimizer group each.

The generator gives the model's completions and samples: from the posterior's mean without noise, and from both priors. It has no
likelihood, so there is no bound on the probability of an image; the VAE's would be about images that the model does not produce.

Where we depart from the paper: the generator adds to the logits of the VAE's decoder (which it does not train) and starts at zero,
where the paper's makes the whole image, which took far longer to learn. One step trains all networks, the generator and the
discriminator with learning rates of their own; the discriminator judges patches and has a gradient penalty, without which the
generator never learned (see `vqkit.losses.gan`); the weight of the codes is a setting, and the mean over images is taken where the
authors' program sums; the generator is built like the VAE's decoder and is conditioned like it; masks, encoder and decoder as in
`vqkit.models.vae`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.core.randomness import generator_for
from vqkit.errors import ConfigError
from vqkit.interfaces import Context, DataSpec, Likelihood, OptimizerGroup, Reconstruction, fully_observed, where_present
from vqkit.layers.detached import with_detached_parameters
from vqkit.losses.gan import GANLoss, build_discriminator
from vqkit.models.adversary import AdversaryOptions
from vqkit.models.gaussian import Gaussian
from vqkit.models.latent import build_latent_projection, code_grid
from vqkit.models.networks import Decoder, context_of, encoder_input
from vqkit.models.vae import VAE
from vqkit.registry import MODELS


class AdversarialVAEOptions(AdversaryOptions):
    """Settings of the adversarial VAE."""

    generator_lr_scale: float = Field(0.1, gt=0, description="Learning rate of the generator, as a multiple of the model's.")
    code_weight: float = Field(
        1.0, gt=0, description="Weight of the generator's code loss: the distance from its latents to those of the encoded image."
    )


class Generator(nn.Module):
    """Latents and noise to a correction of the logits of the VAE's decoder, zero at first. It is built like that decoder.

    It is only trained on images from the prior, of which nothing is observed: it does not see a context.
    """

    def __init__(self, options: AdversarialVAEOptions, spec: DataSpec, likelihood: Likelihood) -> None:
        super().__init__()
        both = options.model_copy(update={"latent_dim": 2 * options.latent_dim})
        self.latent_projection, channels = build_latent_projection(both, code_grid(options, spec))
        self.decoder = Decoder(options, spec, channels, likelihood, with_context=False)
        with torch.no_grad():
            self.decoder.last_weight.zero_()
            self.decoder.last_bias.zero_()

    def forward(self, latents: Tensor, noise: Tensor, conditions: Tensor) -> Tensor:
        """Latents and noise [B, L, ...] each, and condition values [B, D] (NaN: unknown), to logits [B, C, H, W]."""
        projected = self.latent_projection(torch.cat([latents, noise], dim=1))
        logits: Tensor = self.decoder(projected, conditions)
        return logits


@MODELS.register("adversarial-vae")
class AdversarialVAE(VAE):
    """The adversarial VAE of this module; see there for the diagram. Its logits are those of the generator."""

    Options = AdversarialVAEOptions
    options: AdversarialVAEOptions

    def __init__(self, options: AdversarialVAEOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.generator = Generator(options, spec, self.likelihood)
        self.discriminator = build_discriminator(spec, options.discriminator_channels)
        self._gan = GANLoss("logit", options.gradient_penalty)

    @property
    def adversaries(self) -> tuple[OptimizerGroup, ...]:
        """See `Autoencoder.adversaries`: the generator and the discriminator."""
        return (
            OptimizerGroup(self.generator, self.options.generator_lr_scale),
            OptimizerGroup(self.discriminator, self.options.discriminator_lr_scale),
        )

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        """See `VariationalModel.forward`; recon and kl are those of the VAE, whose decoder does not give the model's images.

        Losses: also adversarial and code, which train the generator only. Adversarial losses: discriminator. The logits are those
        of the generator, for the posterior's sample of these images and no noise.
        """
        sample = self.sample_posterior(self.features(images, observed), self.noise(len(images), generator).to(images.device))
        context = context_of(images, shown)
        result = self.elbo(sample, self.logits(sample.latents, conditions, context), images, present)
        latents, noise = (self.noise(len(images), generator)[:, 0].to(images.device) for _ in range(2))
        # The adversarial loss does not train the likelihood's scale.
        fake = with_detached_parameters(self.likelihood, self._generate(latents, noise, conditions))
        losses = {
            "adversarial": self._gan.generator_loss(self.discriminator, fake),
            "code": self.options.code_weight * code_distance(latents, self._encode_fake(fake)).mean(),
        }
        completed = self._complete(sample.latents.detach(), conditions, context)
        real = where_present(images, present, self.mean(completed).detach())
        discriminator = self._gan.discriminator_loss(self.discriminator, real, fake, generator)
        return replace(
            result,
            logits=completed,
            losses={**result.losses, **losses},
            adversarial_losses={"discriminator": discriminator},
        )

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor, shown: Tensor | None = None) -> Tensor:
        """See `Autoencoder.reconstruct`: the generator's image for the posterior's mean, without noise."""
        latents = self.expected_latents(self.features(images, observed))
        return self.mean(self._complete(latents, conditions, context_of(images, shown)))

    def sample(self, conditions: Tensor, seed: int = 0, first: int = 0, temperature: float = 1.0) -> Tensor:
        """See `GenerativeAutoencoder.sample`; the temperature is that of latents and noise."""
        numbers = range(first, first + len(conditions))
        drawn = [
            torch.randn((2, *self.latent_shape), generator=generator_for(seed, "latents and noise", number)) for number in numbers
        ]
        latents, noise = (temperature * torch.stack(drawn)).to(conditions.device).unbind(dim=1)
        return self.mean(self._generate(latents, noise, conditions))

    def log_weights(
        self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator, present: Tensor | None = None
    ) -> Tensor:
        """Raises `ConfigError`: the generator, which produces this model's images, has no likelihood."""
        raise ConfigError(
            "An image has no probability under an adversarial-vae, whose generator has no likelihood over pixel values.",
            "Bounds are for models that draw from a likelihood, such as vae or vae-gan.",
        )

    def _complete(self, latents: Tensor, conditions: Tensor, context: Context | None) -> Tensor:
        """Logits [B, C, H, W] of latents [B, L, ...] without noise."""
        return self._generate(latents, torch.zeros_like(latents), conditions, context)

    def _generate(self, latents: Tensor, noise: Tensor, conditions: Tensor, context: Context | None = None) -> Tensor:
        """The logits [B, C, H, W] of the VAE's decoder, which gets no gradient, plus the generator's correction."""
        correction: Tensor = self.generator(latents, noise, conditions)
        return self.logits(latents, conditions, context).detach() + correction

    def _encode_fake(self, fake: Tensor) -> Gaussian:
        """q(z|fake) of fully observed images [B, C, H, W]; the encoder's parameters get no gradient."""
        features = with_detached_parameters(self.encoder, encoder_input(fake, fully_observed(fake)))
        return Gaussian.from_parameters(with_detached_parameters(self.head, features))


def code_distance(latents: Tensor, encoded: Gaussian) -> Tensor:
    """Half the weighted squared distance [B] of latents [B, L, ...] from the mean of `encoded`.

    The weights of an image's dimensions add up to 1 and decrease with the variance.
    """
    weights = (-encoded.log_variance).flatten(1).softmax(dim=1).detach()
    return (weights * 0.5 * (latents - encoded.mean).square().flatten(1)).sum(dim=1)
