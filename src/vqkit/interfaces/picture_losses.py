"""What a loss on pictures is given, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from vqkit.interfaces.tasks import OptimizerGroup


class Pictures(NamedTuple):
    """The pictures of a training step.

    `expected` float32 [B, C, H, W] in [0, 1]: what the model expects, with a gradient; `target` float [B, C, H, W] in [0, 1];
    `distance`: the scalar that already pulls `expected` to `target`: the model's reconstruction loss and the losses before this
    one; `epoch`: epochs done, as a fraction.
    """

    expected: Tensor
    target: Tensor
    distance: Tensor
    epoch: float


class Added(NamedTuple):
    """What a loss adds to a training step.

    `losses`: named scalars for the model to minimise, already weighted; `adversarial_losses`: named scalars that train the loss's
    own networks,
    and through which no gradient reaches the model; `monitors`: named scalars only to be recorded.
    """

    losses: dict[str, Tensor]
    adversarial_losses: dict[str, Tensor]
    monitors: dict[str, Tensor]


class PictureLoss(nn.Module, ABC):
    """A loss on whole pictures. Its registered networks learn with the model, and are kept for a resumed run."""

    @abstractmethod
    def forward(self, pictures: Pictures) -> Added:
        """What this loss makes of the pictures of a step."""

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """The networks of its own that are trained. None, unless a subclass has some."""
        return []
