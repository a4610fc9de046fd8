"""The likelihoods that a model's option `likelihood` can name.

bernoulli: the logit is that of a pixel being set; for binary images.
logistic: the logit is the location of a logistic density with a learned scale per channel, discretised to the 256 values of a
pixel: the probability of a value is the mass between its edges, and beyond them for the first and the last (Salimans et al. 2017,
"PixelCNN++", section 2.1, with one component). Locations and scales are in units of the whole range, as pixels in [0, 1] are.
mse, l1, huber: the logit is the pixel itself, and the loss its squared, absolute or Huber distance from the target: up to
constants, a Gaussian or Laplace density of fixed scale, under which an image has no probability and no bits per dimension.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec, Likelihood

LikelihoodName = Literal["bernoulli", "logistic", "mse", "l1", "huber"]
LikelihoodChoice = Literal["auto", "bernoulli", "logistic", "mse", "l1", "huber"]
DistanceChoice = Literal["auto", "bernoulli", "mse", "l1", "huber"]
"""For models that only need a distance between images, not a probability."""

_HALF_STEP = 0.5 / 255
"""Half the distance between two values of a pixel in [0, 1]."""
_FIRST_LOG_SCALE, _SMALLEST_LOG_SCALE = -2.0, -7.0
"""Logarithm of the logistic scale before training, and its lower bound."""
_LOG_SCALE_RATE = 10.0
"""How many times faster than a weight the log scale is learned: it has far to go until reconstruction loss and KL balance."""


class Bernoulli(Likelihood):
    """A pixel is set with probability sigmoid(logit)."""

    name: ClassVar[str] = "bernoulli"
    mid_logit: ClassVar[float] = 0.0

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Likelihood.loss`."""
        return F.binary_cross_entropy_with_logits(logits.float(), target)

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return logits.float().sigmoid()

    def log_prob(self, logits: Tensor, images: Tensor) -> Tensor:
        """See `Likelihood.log_prob`. Raises `ConfigError` for pixels that are neither 0 nor 1."""
        if not bool(((images == 0) | (images == 1)).all()):
            raise ConfigError(
                "Pixels between 0 and 1 have no probability under the likelihood bernoulli.",
                "Binarise the data, such as with data.value_kind=sampled, or train with model.likelihood=logistic.",
            )
        pixels = -F.binary_cross_entropy_with_logits(logits.float(), images, reduction="none")
        return pixels.double().flatten(1).sum(dim=1)


class DiscretizedLogistic(Likelihood):
    """A pixel is drawn from a logistic density with the logit as location, discretised to 256 values."""

    name: ClassVar[str] = "logistic"
    mid_logit: ClassVar[float] = 0.5

    def __init__(self, components: int) -> None:
        super().__init__(components)
        self.raw_log_scale = nn.Parameter(torch.zeros(components))

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of the scale of each channel, float32 [C]."""
        return (_FIRST_LOG_SCALE + _LOG_SCALE_RATE * self.raw_log_scale).clamp(min=_SMALLEST_LOG_SCALE)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Likelihood.loss`."""
        return -logistic_log_prob(logits.float(), self.log_scale, target).mean()

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return logistic_mean(logits.float(), self.log_scale)

    def log_prob(self, logits: Tensor, images: Tensor) -> Tensor:
        """See `Likelihood.log_prob`."""
        return logistic_log_prob(logits.float(), self.log_scale, images).double().flatten(1).sum(dim=1)


class PixelDistance(Likelihood):
    """A distance between pixels in place of a likelihood; the logit is the pixel."""

    mid_logit: ClassVar[float] = 0.5

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return logits.float().clamp(0, 1)

    def log_prob(self, logits: Tensor, images: Tensor) -> Tensor:
        """Raises `ConfigError`: a distance gives no probability."""
        raise ConfigError(
            f"An image has no probability under the likelihood {self.name}, which is a distance between pixels.",
            "Train with model.likelihood=logistic for intensities, or bernoulli for binary data.",
        )


class SquaredError(PixelDistance):
    """The squared distance."""

    name: ClassVar[str] = "mse"

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Likelihood.loss`."""
        return F.mse_loss(logits.float(), target)


class AbsoluteError(PixelDistance):
    """The absolute distance."""

    name: ClassVar[str] = "l1"

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Likelihood.loss`."""
        return F.l1_loss(logits.float(), target)


class HuberError(PixelDistance):
    """The Huber distance: squared up to 0.1, absolute beyond."""

    name: ClassVar[str] = "huber"

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `Likelihood.loss`."""
        return F.huber_loss(logits.float(), target, delta=0.1)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    each.name: each for each in (Bernoulli, DiscretizedLogistic, SquaredError, AbsoluteError, HuberError)
}


def build_likelihood(choice: LikelihoodChoice, spec: DataSpec, intensities: LikelihoodName = "mse") -> Likelihood:
    """The chosen likelihood of images; `auto`: bernoulli for binary data, and `intensities` for intensities."""
    if choice == "auto":
        choice = "bernoulli" if spec.value_kind == "binary" else intensities
    return LIKELIHOODS[choice](len(spec.components))


def logistic_log_prob(loc: Tensor, log_scale: Tensor, pixels: Tensor) -> Tensor:
    """Log probability, in nats, of each pixel under the discretised logistic: float32 [B, C, H, W].

    `loc` [B, C, H, W] and `log_scale` [C] are its parameters; `pixels` [B, C, H, W] in [0, 1].
    """
    scale = _per_channel(log_scale).exp()
    below = F.logsigmoid((pixels + _HALF_STEP - loc) / scale)
    above = F.logsigmoid((loc - pixels + _HALF_STEP) / scale)
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): exact, however far the pixel is from the location.
    between = below + above + torch.log(-torch.expm1(-2 * _HALF_STEP / scale))
    return torch.where(pixels < _HALF_STEP, below, torch.where(pixels > 1 - _HALF_STEP, above, between))


def logistic_mean(loc: Tensor, log_scale: Tensor) -> Tensor:
    """The mean [B, C, H, W] of the logistic density (see `logistic_log_prob`) with the mass beyond [0, 1] moved to the ends."""
    # It is the integral over [0, 1] of the probability of being above.
    scale = _per_channel(log_scale).exp()
    return (scale * (F.softplus(loc / scale) - F.softplus((loc - 1) / scale))).clamp(0, 1)


def _per_channel(values: Tensor) -> Tensor:
    """Values [C] as float32 [C, 1, 1]."""
    return values.float()[:, None, None]
