"""The masked VAE/GAN: a VAE whose decoder also learns to deceive a discriminator (Larsen et al. 2016, "Autoencoding beyond pixels
using a learned similarity metric").

                                                                        condition values
    image * observed ─┐                                                       │
                      ├─ encoder ── features ── q(z|x) ── z ──┬── foot ── decoder ──┬── p(x|z) of the WHOLE image
    observed ─────────┘             [B,F,h,w]        N(0, I) ─┘                     └── discriminator ── made, or real?

The encoder minimises the negative ELBO, the decoder too, and to that adds -log D(made) for images that it makes of latents from the
posterior and from the prior; the discriminator learns to tell both from real ones. As in the paper, no gradient of the game reaches
the encoder. Where we depart from it: images are compared pixel by pixel and not in the discriminator's features, which is what the
paper's title means. So the ELBO is still one of a likelihood over pixel values, `bound` means what it does for the VAE, and models
are compared by the same error. Further: the discriminator judges patches; the encoder and decoder, and what they see, are those of
`vqkit.models.vae`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from vqkit.interfaces import DataSpec, OptimizerGroup, Reconstruction
from vqkit.layers.frozen import frozen
from vqkit.models.adversary import AdversaryOptions, build_discriminator, discriminator_loss
from vqkit.models.vae import VAE
from vqkit.registry import MODELS


class VAEGANOptions(AdversaryOptions):
    """Settings of the VAE/GAN."""

    adversarial: float = Field(0.01, gt=0, description="Weight of what the discriminator makes of the decoder's images.")


@MODELS.register("vae-gan")
class VAEGAN(VAE):
    """The VAE/GAN of this module; see there for the diagram."""

    Options = VAEGANOptions
    options: VAEGANOptions

    def __init__(self, options: VAEGANOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.discriminator = build_discriminator(options, spec)

    @property
    def adversaries(self) -> tuple[OptimizerGroup, ...]:
        """See `Autoencoder.adversaries`: the discriminator."""
        return (OptimizerGroup(self.discriminator, self.options.discriminator_lr_scale),)

    def forward(
        self, images: Tensor, observed: Tensor, conditions: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """See `VariationalModel.forward`. Losses: also adversarial, which trains the decoder alone; own: discriminator."""
        drawn = self.draw(self.features(images, observed), self.noise(len(images), generator).to(images.device))
        result = self.judge(drawn, self.logits(drawn.latents, conditions), images)
        new = self.noise(len(images), generator)[:, 0].to(images.device)
        made = self._make(torch.cat([drawn.latents.detach(), new]), torch.cat([conditions, conditions]))
        adversarial = self.options.adversarial * F.softplus(-frozen(self.discriminator, made)).mean()
        own = {"discriminator": discriminator_loss(self.discriminator, images, made, self.options.discriminator_penalty, generator)}
        return replace(result, losses={**result.losses, "adversarial": adversarial}, adversarial_losses=own)

    def _make(self, latents: Tensor, conditions: Tensor) -> Tensor:
        """Expected images [B, C, H, W]. The adversarial loss does not train the likelihood's scale."""
        return frozen(self.likelihood, self.logits(latents, conditions))
