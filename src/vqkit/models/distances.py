"""Distances between pixels in place of a likelihood; the logit is the pixel itself.

Shapes: B images, C components, H x W pixels; unit values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import ComponentSpec
from vqkit.models.pixel_likelihood import ClippedLikelihood, values_per_image

_LOGARITHMIC_ABOVE = 0.02
"""The mean squared error, in unit values, above which `log-mse` becomes logarithmic."""


class PixelDistance(ClippedLikelihood):
    """A distance between pixels in place of a likelihood; the logit is the pixel.

    In the loss each component has the weight `component_weights` [C, 1, 1], so that dark components count as much as bright ones:
    see `set_variances`.
    """

    component_weights: Tensor

    def __init__(self, component_specs: Sequence[ComponentSpec]) -> None:
        super().__init__(component_specs)
        self.register_buffer("component_weights", torch.ones(len(self.component_specs), 1, 1))

    @torch.no_grad()
    def set_variances(self, variances: Tensor) -> None:
        """Weight each component by the inverse of the distance that is its deviation; the mean weight is 1.

        `variances`: of the training pixels, [C]. For a squared distance the weights are their inverses. A variance counts as at
        least a hundredth of the largest: a constant component would outweigh all others.
        """
        deviations = variances.clamp_min(float(variances.max()) / 100).clamp_min(1e-12).sqrt()
        weights = 1 / self.pixel_loss(deviations, torch.zeros_like(deviations))
        self.component_weights.copy_((weights / weights.mean()).to(self.component_weights)[:, None, None])

    def weighted_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.weighted_loss`."""
        return self.component_weights * self.pixel_loss(logits, target)

    def log_prob(self, logits: Tensor, images: Tensor, present: Tensor | None = None) -> Tensor:
        """Raises `ConfigError`: a distance gives no probability."""
        raise ConfigError(
            f"An image has no probability under the likelihood {self.name}, which is a distance between pixels.",
            "Train with model.likelihood=logistic or gaussian for intensities, or bernoulli for binary data.",
        )


class SquaredError(PixelDistance):
    """The squared distance."""

    name: ClassVar[str] = "mse"

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        return F.mse_loss(logits, target, reduction="none")


class LogSquaredError(SquaredError):
    """The logarithm of the mean squared distance of each image, `c log(1 + mse / c)` with c = 0.02.

    An image whose error is far above c counts less, one far below it as in `SquaredError`, so that weights of other losses keep
    their meaning. c is an error of 0.14 of the range.
    """

    name: ClassVar[str] = "log-mse"

    def loss(self, logits: Tensor, target: Tensor, present: Tensor | None = None) -> Tensor:
        """See `Likelihood.loss`: the mean over the images of which anything is present."""
        squares = self.weighted_loss(logits.float(), target)
        if present is None:
            return _logarithm(squares.flatten(1).mean(dim=1)).mean()
        where = present.expand_as(squares)
        counts = where.flatten(1).sum(dim=1)
        errors = torch.where(where, squares, 0).flatten(1).sum(dim=1) / counts.clamp_min(1)
        held = (counts > 0)[:, None, None, None]
        return _logarithm(errors).sum() / (len(held) * values_per_image(held, self.training)).clamp_min(1)


class AbsoluteError(PixelDistance):
    """The absolute distance."""

    name: ClassVar[str] = "l1"

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        return F.l1_loss(logits, target, reduction="none")


class HuberError(PixelDistance):
    """The Huber distance: squared up to 0.1, absolute beyond."""

    name: ClassVar[str] = "huber"

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        return F.huber_loss(logits, target, reduction="none", delta=0.1)


def _logarithm(errors: Tensor) -> Tensor:
    return _LOGARITHMIC_ABOVE * torch.log1p(errors / _LOGARITHMIC_ABOVE)
