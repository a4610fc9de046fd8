"""The losses of a discriminator and of the network that it is trained against (Goodfellow et al. 2014, "Generative Adversarial
Nets"). They are shared by models with a discriminator of their own and by the adversarial loss that can be added to any model.

A discriminator gives logits, positive where an image looks real. The kinds of loss differ in what they make of a logit d:

    kind            discriminator, real   discriminator, fake   generator
    hinge           max(0, 1 - d)         max(0, 1 + d)         -d                  VQGAN (Esser et al. 2021, section 3.2)
    non-saturating  softplus(-d)          softplus(d)           softplus(-d)        Goodfellow et al. 2014, section 3
    logit           softplus(-d)          softplus(d)           -d                  AVAE (Plumerault et al. 2020)

A discriminator that separates real from fake with certainty gives a generator no useful gradient. A gradient penalty bounds its
slope at real images (R1, Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?") and at fake ones (R2, as
in Huang et al. 2024, "The GAN is dead; long live the GAN!"). Where we depart from them: the slope is a finite difference in a
random direction, so that no second derivatives are needed.

Shapes: B images, C components, H x W pixels, h x w patches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.core.randomness import step_noise
from vqkit.interfaces import DataSpec
from vqkit.layers.detached import with_detached_parameters
from vqkit.layers.discriminator import PatchDiscriminator

GANLossKind = Literal["hinge", "non-saturating", "logit"]

_STEP = 0.05
"""Standard deviation of the steps by which the slope of a discriminator is measured."""


class _LogitLosses(NamedTuple):
    """Losses as functions of logits."""

    real: Callable[[Tensor], Tensor]
    fake: Callable[[Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


_LOSSES: dict[GANLossKind, _LogitLosses] = {
    "hinge": _LogitLosses(lambda logits: F.relu(1 - logits), lambda logits: F.relu(1 + logits), torch.neg),
    "non-saturating": _LogitLosses(lambda logits: F.softplus(-logits), F.softplus, lambda logits: F.softplus(-logits)),
    "logit": _LogitLosses(lambda logits: F.softplus(-logits), F.softplus, torch.neg),
}


@dataclass(frozen=True)
class GANLoss:
    """Both sides of adversarial training; see the table of this module. `gradient_penalty`: its weight, 0 for none."""

    kind: GANLossKind
    gradient_penalty: float = 0.0

    def generator_loss(self, discriminator: nn.Module, fake: Tensor) -> Tensor:
        """Mean loss of the network that made the images `fake` [B, C, H, W]; the discriminator's parameters get no gradient."""
        return _LOSSES[self.kind].generator(with_detached_parameters(discriminator, fake)).mean()

    def discriminator_loss(
        self, discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mean loss of a discriminator on real images [B, C, H, W] and fake ones [k B, C, H, W], each with weight 1/2.

        Half the gradient penalty is added where there is a `generator`, from which its random directions are drawn. No gradient
        reaches what made the images.
        """
        images = torch.cat([real, fake.detach()])
        if not self.gradient_penalty or generator is None:
            logits, squared_slope = discriminator(images), images.new_zeros(())
        else:
            moved_images = images + _STEP * _directions(images, len(real), generator)
            logits, moved = discriminator(torch.cat([images, moved_images])).chunk(2)
            squared_slope = ((moved - logits) / _STEP).square().mean()
        losses = _LOSSES[self.kind]
        of_real, of_fake = losses.real(logits[: len(real)]).mean(), losses.fake(logits[len(real) :]).mean()
        return (of_real + of_fake + self.gradient_penalty * squared_slope) / 2


def build_discriminator(spec: DataSpec, channels: int) -> PatchDiscriminator:
    """A patch discriminator of a data set's images, with this many channels in its first layer."""
    return PatchDiscriminator(len(spec.components), (spec.height, spec.width), channels)


def _directions(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Standard normal noise shaped like `images`, which hold several images for each of the `count` samples of a step."""
    noise = step_noise(count, (len(images) // count, *images.shape[1:]), generator)
    return noise.transpose(0, 1).reshape(images.shape).to(images)
