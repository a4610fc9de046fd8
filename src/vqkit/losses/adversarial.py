"""Adversarial training (Goodfellow et al. 2014) with the hinge loss, as in VQGAN (Esser et al. 2021, section 3.2).

A discriminator learns to tell the training pictures from the model's, and the model learns to pass for real. Where we depart from
VQGAN: before the adversarial loss counts for the model, the discriminator learns already. So it knows something when it is first
asked, and its parameters have a gradient in every step, which DistributedDataParallel relies on.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.config import LossConfig
from vqkit.interfaces import OptimizerGroup
from vqkit.interfaces.picture_losses import Added, PictureLoss, Pictures
from vqkit.layers.frozen import frozen


class AdversarialLoss(PictureLoss):
    """A discriminator's judgement of the model's pictures, and the discriminator's own loss.

    `discriminator` gives judgements of images [B, C, H, W], positive where they look real; `balance` gives the weight of the
    adversarial loss beside the distance (see `vqkit.losses.balance`), which `settings.adversarial` multiplies.
    """

    def __init__(self, settings: LossConfig, discriminator: nn.Module, balance: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.discriminator = discriminator
        self._settings = settings
        self._balance = balance

    def forward(self, pictures: Pictures) -> Added:
        """See `PictureLoss.forward`. Monitors: adaptive_weight, what `balance` gave; 0 before the loss counts."""
        own = {"discriminator": self._discriminator_loss(pictures.target, pictures.expected.detach())}
        if pictures.epoch < self._settings.discriminator_start_epoch:
            nothing = torch.zeros_like(pictures.distance)
            return Added({"adversarial": nothing}, own, {"adaptive_weight": nothing})
        # Frozen: what the model gains by deceiving the discriminator must not teach that to be deceived.
        adversarial = -frozen(self.discriminator, pictures.expected).mean()
        weight = self._balance(pictures.distance, adversarial)
        return Added({"adversarial": self._settings.adversarial * weight * adversarial}, own, {"adaptive_weight": weight})

    def _discriminator_loss(self, real: Tensor, made: Tensor) -> Tensor:
        """The hinge loss of real images and of the model's, [B, C, H, W] each: 1 for one that knows nothing, 0 at best."""
        of_real, of_made = self.discriminator(torch.cat([real, made])).chunk(2)
        return (F.relu(1 - of_real).mean() + F.relu(1 + of_made).mean()) / 2

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """The discriminator."""
        return [OptimizerGroup(self.discriminator, self._settings.discriminator_lr_scale)]
