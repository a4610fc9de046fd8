"""What models with a discriminator of their own share: its settings, and both sides of the game.

Goodfellow et al. 2014, "Generative Adversarial Nets": a discriminator learns to tell images of the data from images that were made,
and what makes them learns to deceive it. Here the discriminator judges patches (see `vqkit.layers.discriminator`), from the first
step on. It is a part of the model, because an interrupted run needs it again; what it thinks is of no use afterwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vqkit.interfaces import DataSpec
from vqkit.layers.discriminator import PatchDiscriminator
from vqkit.models.latent import LatentOptions


class AdversaryOptions(LatentOptions):
    """Settings of every model with a discriminator of its own."""

    discriminator_channels: int = Field(
        32, ge=8, multiple_of=8, description="Channels of the discriminator's first layer; a multiple of 8."
    )
    discriminator_rate: float = Field(
        0.5, gt=0, description="Learning rate of the discriminator, as a share of the model's at each step."
    )


def build_discriminator(options: AdversaryOptions, spec: DataSpec) -> PatchDiscriminator:
    """A discriminator of images as the data set has them."""
    return PatchDiscriminator(len(spec.components), (spec.height, spec.width), options.discriminator_channels)


def discriminator_loss(discriminator: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    """Binary cross-entropy of judgements of real images [B, C, H, W] and of made ones [M, C, H, W], half of it each.

    log 2 for a discriminator that knows nothing, 0 at best. No gradient reaches what made the images.
    """
    of_real, of_made = discriminator(torch.cat([real, made.detach()])).split([len(real), len(made)])
    return (F.softplus(-of_real).mean() + F.softplus(of_made).mean()) / 2
