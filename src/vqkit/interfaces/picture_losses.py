"""Losses on whole images that are added to the losses of a model, such as a perceptual or an adversarial loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from vqkit.interfaces.tasks import OptimizerGroup


class Pictures(NamedTuple):
    """The input of a picture loss in a training step.

    `expected` float32 [B, C, H, W] in [0, 1]: the model's reconstruction, with a gradient; `target` float [B, C, H, W] in [0, 1];
    `distance`: the sum of the reconstruction loss and the picture losses before this one, a scalar; `epoch`: epochs done, as a
    fraction.
    """

    expected: Tensor
    target: Tensor
    distance: Tensor
    epoch: float


class Added(NamedTuple):
    """The result of a picture loss in a training step.

    `losses`: named scalars for the model to minimise, already weighted; `adversarial_losses`: named scalars that train the loss's
    own networks, and through which no gradient reaches the model; `monitors`: named scalars only to be recorded.
    """

    losses: dict[str, Tensor]
    adversarial_losses: dict[str, Tensor]
    monitors: dict[str, Tensor]


class PictureLoss(nn.Module, ABC):
    """A loss on whole images. Its submodules are trained with the model and saved for resuming a run."""

    @abstractmethod
    def forward(self, pictures: Pictures) -> Added:
        """The losses and monitors of a training step."""

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """Networks of the loss that are trained, such as a discriminator; by default none."""
        return []
