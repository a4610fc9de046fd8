"""The likelihood of an image given the logits of a decoder.

Shapes: B images, C components, H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Likelihood(nn.Module, ABC):
    """p(image | logits), independent over pixels, or a distance in its place. It may have parameters, such as a learned scale.

    `name`: as in the options of a model; `mid_logit`: the logit whose expected pixel is 1/2, at which decoders start.
    """

    name: ClassVar[str]
    mid_logit: ClassVar[float]

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components = components

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean negative log-likelihood of target pixels [B, C, H, W] in [0, 1], up to constants: a float32 scalar in nats."""

    @abstractmethod
    def mean(self, logits: Tensor) -> Tensor:
        """The expected pixels, float32 [B, C, H, W] in [0, 1]."""

    @abstractmethod
    def log_prob(self, logits: Tensor, images: Tensor) -> Tensor:
        """Log probability, in nats, of whole images [B, C, H, W] in [0, 1]: float64 [B].

        Raises `ConfigError` for a distance, which gives no probability, and for pixel values that the likelihood does not cover.
        """

    def forward(self, logits: Tensor) -> Tensor:
        """See `mean`."""
        return self.mean(logits)
