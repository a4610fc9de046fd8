"""What a method of self-supervised pretraining is: a loss on the features that an encoder gives two views of each image."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from pydantic import BaseModel
from torch import Tensor, nn

from vqkit.interfaces.models import EncoderPart


class View(NamedTuple):
    """One view of each image: `images` float [B, C, H, W] in [0, 1], and `observed` bool [B, C, H, W], where they may be seen."""

    images: Tensor
    observed: Tensor


class LossOutput(NamedTuple):
    """`loss`: the float32 scalar to minimise, of which the mean over the processes counts; `monitors`: scalars to be recorded."""

    loss: Tensor
    monitors: dict[str, Tensor]


class PretrainingMethod(nn.Module, ABC):
    """How an encoder learns from two views of each image. The networks of a method serve its training only.

    It is built for an encoder, which is no part of it.
    """

    Options: ClassVar[type[BaseModel]]

    @abstractmethod
    def forward(self, encoder: EncoderPart, first: View, second: View, progress: float) -> LossOutput:
        """Judge an encoder by two views of the same images, in a training step; `progress`: share of the run that is done."""
