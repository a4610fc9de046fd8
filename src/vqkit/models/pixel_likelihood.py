"""What likelihoods that are a sum over pixels share, and how many values of an image count.

Shapes: B images, C components, H x W pixels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from vqkit.core import distributed
from vqkit.interfaces import ComponentSpec, Likelihood


class PixelLikelihood(Likelihood):
    """A likelihood that is a sum over pixels.

    `mid_logit`: the logit whose expected pixel is 1/2; `logit_is_pixel`: whether the logit is a pixel, in unit values.
    """

    mid_logit: ClassVar[float] = 0.5
    logit_is_pixel: ClassVar[bool] = True

    @property
    def mid_logits(self) -> Tensor:
        """See `Likelihood.mid_logits`."""
        return torch.full((len(self.component_specs),), self.mid_logit)

    @property
    def pixel_logits(self) -> Tensor:
        """See `Likelihood.pixel_logits`."""
        return torch.full((len(self.component_specs),), self.logit_is_pixel)

    @abstractmethod
    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of each pixel, float32 [B, C, H, W]."""

    def weighted_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """`pixel_loss`, weighted by component where a loss is a distance."""
        return self.pixel_loss(logits, target)

    def loss(self, logits: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
        """See `Likelihood.loss`."""
        losses = self.weighted_loss(logits.float(), target)
        if present is None:
            return losses.mean()
        where = present.expand_as(losses)
        count = len(losses) * values_per_image(where, self.training)
        return torch.where(where, losses, 0).sum() / count.clamp_min(1)

    def log_prob(self, logits: Tensor, images: Tensor, present: Tensor | None = None) -> Tensor:
        """See `Likelihood.log_prob`."""
        pixels = -self.pixel_loss(logits.float(), images).double()
        return (pixels if present is None else torch.where(present, pixels, 0)).flatten(1).sum(dim=1)


class ClippedLikelihood(PixelLikelihood):
    """One whose logit is the expected pixel, which is clipped to the extremes of the training data."""

    lowest: Tensor
    highest: Tensor

    def __init__(self, component_specs: Sequence[ComponentSpec]) -> None:
        super().__init__(component_specs)
        bounds = torch.tensor([each.unit_bounds for each in self.component_specs])
        self.register_buffer("lowest", bounds[:, 0, None, None], persistent=False)
        self.register_buffer("highest", bounds[:, 1, None, None], persistent=False)

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return logits.float().clamp(self.lowest, self.highest)


def values_per_image(present: Tensor, training: bool) -> Tensor:
    """How many values of an image are `present`, bool [B, C, H, W], on average: a float32 scalar.

    In `training` the average is over the batch of all processes, of which each has as many images.
    """
    count = present.sum(dtype=torch.float32) / len(present)
    if training:  # the batches of validation may differ in number between the processes
        distributed.all_reduce(count)
        count = count / distributed.world_size()
    return count
