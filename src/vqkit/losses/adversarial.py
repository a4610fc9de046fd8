"""Adversarial training (Goodfellow et al. 2014) with the hinge loss, as in VQGAN (Esser et al. 2021, section 3.2).

A discriminator learns to tell training images from reconstructions, and the model learns reconstructions that pass for real. Where
we depart from VQGAN: the discriminator trains from the first step, also before the adversarial loss is switched on for the model.
So it is useful by then, and its parameters have a gradient in every step, which DistributedDataParallel relies on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vqkit.config import LossConfig
from vqkit.interfaces import OptimizerGroup
from vqkit.interfaces.picture_losses import Added, PictureLoss, Pictures
from vqkit.losses.gan import GANLoss


class AdversarialLoss(PictureLoss):
    """The adversarial loss of a model's reconstructions, and the loss of the discriminator.

    `discriminator` gives logits of images [B, C, H, W], positive where they look real; `balance` gives the weight of the
    adversarial loss relative to the other losses (see `vqkit.losses.balance`), which `settings.adversarial` multiplies.
    """

    def __init__(self, settings: LossConfig, discriminator: nn.Module, balance: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._settings = settings
        self._balance = balance
        self._gan = GANLoss("hinge")

    def forward(self, pictures: Pictures) -> Added:
        """See `PictureLoss.forward`. Monitors: adaptive_weight, from `balance`; 0 before the adversarial loss is switched on."""
        own = {"discriminator": self._gan.discriminator_loss(self.discriminator, pictures.target, pictures.expected)}
        if pictures.epoch < self._settings.discriminator_start_epoch:
            nothing = torch.zeros_like(pictures.distance)
            return Added({"adversarial": nothing}, own, {"adaptive_weight": nothing})
        adversarial = self._gan.generator_loss(self.discriminator, pictures.expected)
        weight = self._balance(pictures.distance, adversarial)
        return Added({"adversarial": self._settings.adversarial * weight * adversarial}, own, {"adaptive_weight": weight})

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """The discriminator."""
        return [OptimizerGroup(self.discriminator, self._settings.discriminator_lr_scale)]
