"""The masked VAE/GAN: a VAE whose decoder is also trained against a discriminator (Larsen et al. 2016, "Autoencoding beyond pixels
using a learned similarity metric").

                                                                        condition values
    image * observed ─┐                                                       │
                      ├─ encoder ── features ── q(z|x) ── z ──┬─ projection ─ decoder ──┬── p(x|z) of the WHOLE image
    observed ─────────┘             [B,F,h,w]        N(0, I) ─┘                         └── discriminator ── real or fake?

Encoder and decoder minimise the negative ELBO. The decoder also minimises -log D(fake) for images that it makes of latents from the
posterior and from the prior; the discriminator learns to tell both from real images. As in the paper, no gradient of the
adversarial loss reaches the encoder. Where we depart from the paper: reconstructions are compared with images pixel by pixel, not
in the discriminator's features (the learned metric of the title). So the ELBO is one of a likelihood over pixel values, `bound`
means the same as for the VAE, and models are compared by the same error. Further: the discriminator judges patches, with a gradient
penalty (see `vqkit.losses.gan`); encoder, decoder and masking are those of `vqkit.models.vae`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from vqkit.interfaces import DataSpec, OptimizerGroup, Reconstruction, where_present
from vqkit.layers.detached import with_detached_parameters
from vqkit.losses.gan import GANLoss, build_discriminator
from vqkit.models.adversary import AdversaryOptions
from vqkit.models.networks import context_of
from vqkit.models.vae import VAE
from vqkit.registry import MODELS


class VAEGANOptions(AdversaryOptions):
    """Settings of the VAE/GAN."""

    adversarial: float = Field(0.01, gt=0, description="Weight of the adversarial (patch discriminator) loss of the decoder.")


@MODELS.register("vae-gan")
class VAEGAN(VAE):
    """The VAE/GAN of this module; see there for the diagram."""

    Options = VAEGANOptions
    options: VAEGANOptions

    def __init__(self, options: VAEGANOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.discriminator = build_discriminator(spec, options.discriminator_channels)
        self._gan = GANLoss("non-saturating", options.gradient_penalty)

    @property
    def adversaries(self) -> tuple[OptimizerGroup, ...]:
        """See `Autoencoder.adversaries`: the discriminator."""
        return (OptimizerGroup(self.discriminator, self.options.discriminator_lr_scale),)

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        """See `VariationalModel.forward`. Losses: also adversarial, which trains the decoder only.

        Adversarial losses: discriminator.
        """
        sample = self.sample_posterior(self.features(images, observed), self.noise(len(images), generator).to(images.device))
        result = self.elbo(sample, self.logits(sample.latents, conditions, context_of(images, shown)), images, present)
        prior_latents = self.noise(len(images), generator)[:, 0].to(images.device)
        fake = self._decode_fake(torch.cat([sample.latents.detach(), prior_latents]), torch.cat([conditions, conditions]))
        adversarial = self.options.adversarial * self._gan.generator_loss(self.discriminator, fake)
        real = where_present(images, present, self.mean(result.logits).detach())
        discriminator = self._gan.discriminator_loss(self.discriminator, real, fake, generator)
        return replace(
            result,
            losses={**result.losses, "adversarial": adversarial},
            adversarial_losses={"discriminator": discriminator},
        )

    def _decode_fake(self, latents: Tensor, conditions: Tensor) -> Tensor:
        """Expected images [B, C, H, W] of latents [B, L, ...]. The adversarial loss does not train the likelihood's scale."""
        return with_detached_parameters(self.likelihood, self.logits(latents, conditions))
