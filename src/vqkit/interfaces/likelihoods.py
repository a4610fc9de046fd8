"""The likelihood of an image given the logits of a decoder.

Shapes: B images, C components, H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from vqkit.interfaces.components import ComponentSpec


class Likelihood(nn.Module, ABC):
    """p(image | logits), independent over pixels, or a distance in its place. It may have parameters, such as a learned scale.

    `name`: as in the options of a model; `component_specs`: of the components that it scores.
    """

    name: ClassVar[str]

    def __init__(self, component_specs: Sequence[ComponentSpec]) -> None:
        super().__init__()
        self.component_specs = tuple(component_specs)

    @property
    @abstractmethod
    def mid_logits(self) -> Tensor:
        """The logit of each component whose expected pixel is 1/2, float32 [C]: decoders start there."""

    @property
    @abstractmethod
    def pixel_logits(self) -> Tensor:
        """Of which components the logit is a pixel in unit values, so that what is observed can be put there, bool [C]."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
        """Mean negative log-likelihood of target pixels [B, C, H, W] in unit values, up to constants: a float32 scalar in nats.

        Only pixels that are `present` (bool, broadcastable to the target; None: all) count. In training the mean is over the batch
        of all processes.
        """

    @abstractmethod
    def mean(self, logits: Tensor) -> Tensor:
        """The expected pixels, float32 [B, C, H, W] in unit values."""

    @abstractmethod
    def log_prob(self, logits: Tensor, images: Tensor, present: Tensor | None = None) -> Tensor:
        """Log probability, in nats, of the pixels of images [B, C, H, W] that are `present`: float64 [B].

        Raises `ConfigError` for a distance, which gives no probability, and for pixel values that the likelihood does not cover.
        """

    def forward(self, logits: Tensor) -> Tensor:
        """See `mean`."""
        return self.mean(logits)
