"""Contract of self-supervised pretraining methods: a loss on the features of two views of each image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from pydantic import BaseModel
from torch import Tensor, nn

from vqkit.interfaces.models import EncoderPart


class View(NamedTuple):
    """One view of each image: `images` float [B, C, H, W] in [0, 1], and `observed` bool [B, C, H, W], True where visible."""

    images: Tensor
    observed: Tensor


class LossOutput(NamedTuple):
    """`loss`: the float32 scalar to minimise, averaged over the processes; `monitors`: scalars to record."""

    loss: Tensor
    monitors: dict[str, Tensor]


class PretrainingMethod(nn.Module, ABC):
    """A pretraining loss and its auxiliary networks, such as projectors, which are not kept after training.

    A method is built for an encoder but does not contain it.
    """

    Options: ClassVar[type[BaseModel]]

    @abstractmethod
    def forward(self, encoder: EncoderPart, first: View, second: View, progress: float) -> LossOutput:
        """Compute the loss of one training step from two views of the same images. `progress`: completed share of the run."""
