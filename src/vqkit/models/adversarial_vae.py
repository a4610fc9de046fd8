"""The masked adversarial VAE (Plumerault et al. 2020, "AVAE: Adversarial Variational Auto Encoder", arXiv 2012.11551).

    image * observed ─┐                                              condition values
                      ├─ encoder ── features ── q(z|x) ── z ── foot ── decoder ── p(x|z) of the WHOLE image
    observed ─────────┘             [B,F,h,w]

    z from N(0, I) ───┬── foot ── decoder ──┐            ┌── discriminator ── made, or real?
                      │                     + ── made ───┤
    xi from N(0, I) ──┴──── generator ──────┘            └── encoder ── its mean: z again?

A VAE finds latents z that say what matters, and blurs the rest. A generator with a network of its own adds to what the VAE's
decoder makes of z, by z and by noise xi, which is to fill in the rest. It minimises

    -D(made) + code_weight * sum_d w_d 1/2 (z_d - mu_d(made))^2,    w = softmax(-2 log sigma(made)) over the dimensions d

so that images look real and mean z to the encoder, above all in those dimensions of which the encoder is sure. mu and sigma are
those of q(z|made), w is a constant, and the encoder does not learn from the game. The VAE minimises its negative ELBO, the
discriminator the binary cross-entropy of its judgements. Three networks learn apart: the VAE, the generator, the discriminator.

The generator fills in and draws images: of the posterior's mean without noise, and of draws from both priors. It has no likelihood,
so there is no bound on the probability of an image; the VAE's would be about images that the model does not draw.

Where we depart from the paper: the generator adds to the logits of the VAE's decoder (which learns nothing from it) and begins with
nothing, where the paper's makes the image by itself; that took far longer to draw anything. One step trains all networks, the
generator and the discriminator at rates of their own; the discriminator judges patches, and steep judgements are penalised, without
which the generator never learned (see `vqkit.models.adversary`); the weight of the codes is a setting, and the mean over images is
taken where the authors' program sums; the generator is built like the VAE's decoder and told conditions too; masks, encoder and
decoder as in `vqkit.models.vae`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.core.randomness import generator_for
from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec, Likelihood, OptimizerGroup, Reconstruction, fully_observed
from vqkit.layers.frozen import frozen
from vqkit.models.adversary import AdversaryOptions, build_discriminator, discriminator_loss
from vqkit.models.coding import Decoder, see
from vqkit.models.gaussian import Gaussian
from vqkit.models.latent import build_foot, code_grid
from vqkit.models.vae import VAE
from vqkit.registry import MODELS


class AdversarialVAEOptions(AdversaryOptions):
    """Settings of the adversarial VAE."""

    generator_rate: float = Field(0.1, gt=0, description="Learning rate of the generator, as a share of the model's at each step.")
    code_weight: float = Field(
        1.0, gt=0, description="Weight of how well the encoder finds a generated image's latents, beside the discriminator."
    )


class Generator(nn.Module):
    """Latents and noise to what is added to the logits of the VAE's decoder: at first nothing. It is built like that decoder."""

    def __init__(self, options: AdversarialVAEOptions, spec: DataSpec, likelihood: Likelihood) -> None:
        super().__init__()
        both = options.model_copy(update={"latent_dim": 2 * options.latent_dim})
        self.foot, channels = build_foot(both, code_grid(options, spec))
        self.decoder = Decoder(options, spec, channels, likelihood)
        with torch.no_grad():
            self.decoder.last_weight.zero_()
            self.decoder.last_bias.zero_()

    def forward(self, latents: Tensor, noise: Tensor, conditions: Tensor) -> Tensor:
        """Latents and noise [B, L, ...] each, and condition values [B, D] (NaN: unknown), to logits [B, C, H, W]."""
        logits: Tensor = self.decoder(self.foot(torch.cat([latents, noise], dim=1)), conditions)
        return logits


@MODELS.register("adversarial-vae")
class AdversarialVAE(VAE):
    """The adversarial VAE of this module; see there for the diagram. The logits that it gives back are the generator's."""

    Options = AdversarialVAEOptions
    options: AdversarialVAEOptions

    def __init__(self, options: AdversarialVAEOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.generator = Generator(options, spec, self.likelihood)
        self.discriminator = build_discriminator(options, spec)

    @property
    def adversaries(self) -> tuple[OptimizerGroup, ...]:
        """See `Autoencoder.adversaries`: the generator and the discriminator."""
        return OptimizerGroup(self.generator, self.options.generator_rate), OptimizerGroup(
            self.discriminator, self.options.discriminator_lr_scale
        )

    def forward(
        self, images: Tensor, observed: Tensor, conditions: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """See `VariationalModel.forward`; recon and kl are the VAE's, whose decoder makes no image.

        Losses: also adversarial and code, which train the generator alone; own: discriminator. The logits are the generator's,
        of the latents that were drawn for these images, without noise.
        """
        drawn = self.draw(self.features(images, observed), self.noise(len(images), generator).to(images.device))
        result = self.judge(drawn, self.logits(drawn.latents, conditions), images)
        latents, noise = (self.noise(len(images), generator)[:, 0].to(images.device) for _ in range(2))
        # The adversarial loss does not train the likelihood's scale.
        made = frozen(self.likelihood, self._generate(latents, noise, conditions))
        losses = {
            "adversarial": -frozen(self.discriminator, made).mean(),
            "code": self.options.code_weight * code_distance(latents, self._seen_again(made)).mean(),
        }
        return replace(
            result,
            logits=self._fill(drawn.latents.detach(), conditions),
            losses={**result.losses, **losses},
            adversarial_losses={
                "discriminator": discriminator_loss(self.discriminator, images, made, self.options.discriminator_penalty, generator)
            },
        )

    def reconstruct(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """See `Autoencoder.reconstruct`: what the generator makes of the posterior's mean, without noise."""
        return self.mean(self._fill(self.expected(self.features(images, observed)), conditions))

    def sample(self, conditions: Tensor, seed: int = 0, first: int = 0, temperature: float = 1.0) -> Tensor:
        """See `GenerativeAutoencoder.sample`; the temperature is that of latents and noise."""
        numbers = range(first, first + len(conditions))
        drawn = [
            torch.randn((2, *self.latent_shape), generator=generator_for(seed, "latents and noise", number)) for number in numbers
        ]
        latents, noise = (temperature * torch.stack(drawn)).to(conditions.device).unbind(dim=1)
        return self.mean(self._generate(latents, noise, conditions))

    def log_weights(self, images: Tensor, conditions: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Raises `ConfigError`: the generator, which draws this model's images, has no likelihood."""
        raise ConfigError(
            "An image has no probability under an adversarial-vae, whose generator has no likelihood over pixel values.",
            "Bounds are for models that draw from a likelihood, such as vae or vae-gan.",
        )

    def _fill(self, latents: Tensor, conditions: Tensor) -> Tensor:
        return self._generate(latents, torch.zeros_like(latents), conditions)

    def _generate(self, latents: Tensor, noise: Tensor, conditions: Tensor) -> Tensor:
        """The logits of the VAE's decoder, which does not learn from it, and what the generator adds to them."""
        added: Tensor = self.generator(latents, noise, conditions)
        return self.logits(latents, conditions).detach() + added

    def _seen_again(self, made: Tensor) -> Gaussian:
        """q(z|made) of images [B, C, H, W] seen whole; the encoder does not learn from it."""
        whole = fully_observed(made)
        return Gaussian.of(frozen(self.head, frozen(self.encoder, see(made, whole))))


def code_distance(latents: Tensor, seen: Gaussian) -> Tensor:
    """Half the squared distance [B] of latents [B, L, ...] to where they are seen; an image's dimensions have weights of sum 1."""
    weights = (-seen.log_variance).flatten(1).softmax(dim=1).detach()
    return (weights * 0.5 * (latents - seen.mean).square().flatten(1)).sum(dim=1)
