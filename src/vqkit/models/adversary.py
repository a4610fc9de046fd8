"""Settings of models with a discriminator of their own.

The discriminator judges patches (see `vqkit.layers.discriminator`) from the first step on. It is part of the model because a
resumed run needs it; a trained model does not use it. Its losses are those of `vqkit.losses.gan`.
"""

from __future__ import annotations

from pydantic import Field

from vqkit.models.latent import LatentOptions


class AdversaryOptions(LatentOptions):
    """Settings of every model with a discriminator of its own."""

    discriminator_channels: int = Field(
        32, ge=8, multiple_of=8, description="Channels of the first layer of the discriminator; a multiple of 8."
    )
    discriminator_lr_scale: float = Field(
        0.1, gt=0, description="Learning rate of the discriminator, as a multiple of the model's."
    )
    gradient_penalty: float = Field(
        1.0, ge=0, description="Weight of the gradient penalty on the discriminator, at real and fake images; 0 disables it."
    )
