"""What models with a discriminator of their own share: its settings, and both sides of the game.

Goodfellow et al. 2014, "Generative Adversarial Nets": a discriminator learns to tell images of the data from images that were made,
and what makes them learns to deceive it. Here the discriminator judges patches (see `vqkit.layers.discriminator`), from the first
step on. It is a part of the model, because an interrupted run needs it again; what it thinks is of no use afterwards.

A discriminator that is sure of everything teaches nothing: what deceives it is then any direction in which its judgement happens to
rise. So steep judgements are penalised, as are those of Mescheder et al. 2018 ("Which Training Methods for GANs do actually
Converge?", R1), of real images and, as in Huang et al. 2024 ("The GAN is dead; long live the GAN!", R2), of made ones. Where we
depart from them: a slope is that between an image and a point beside it, so that no gradient of a gradient is needed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from vqkit.interfaces import DataSpec
from vqkit.layers.discriminator import PatchDiscriminator
from vqkit.models.latent import LatentOptions, step_noise


class AdversaryOptions(LatentOptions):
    """Settings of every model with a discriminator of its own."""

    discriminator_channels: int = Field(
        32, ge=8, multiple_of=8, description="Channels of the discriminator's first layer; a multiple of 8."
    )
    discriminator_lr_scale: float = Field(
        0.1, gt=0, description="Learning rate of the discriminator, as a share of the model's at each step."
    )
    discriminator_penalty: float = Field(1.0, ge=0, description="Weight of the penalty on steep judgements; 0: none.")


_STEP = 0.05
"""Deviation of the points beside an image, between which and it the slope of a judgement is measured."""


def build_discriminator(options: AdversaryOptions, spec: DataSpec) -> PatchDiscriminator:
    """A discriminator of images as the data set has them."""
    return PatchDiscriminator(len(spec.components), (spec.height, spec.width), options.discriminator_channels)


def discriminator_loss(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,
    made: Tensor,
    penalty: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Binary cross-entropy of judgements of real images [B, C, H, W] and of made ones [k B, C, H, W], half of it each, and half the
    `penalty` times the mean square of their slopes, in random directions of the generator.

    log 2 for a discriminator that knows nothing, 0 at best. No gradient reaches what made the images.
    """
    images = torch.cat([real, made.detach()])
    if not penalty or generator is None:
        judged, steep = discriminator(images), images.new_zeros(())
    else:
        beside = images + _STEP * _directions(images, len(real), generator)
        judged, moved = discriminator(torch.cat([images, beside])).chunk(2)
        steep = ((moved - judged) / _STEP).square().mean()
    of_real, of_made = judged[: len(real)], judged[len(real) :]
    return (F.softplus(-of_real).mean() + F.softplus(of_made).mean() + penalty * steep) / 2


def _directions(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Standard normal noise like `images`, which are several for each of `count` images of a step, one after the other."""
    noise = step_noise(count, (len(images) // count, *images.shape[1:]), generator)
    return noise.transpose(0, 1).reshape(images.shape).to(images)
