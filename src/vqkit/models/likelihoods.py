"""How probable a pixel is, given what a decoder says about it.

bernoulli: the logit of a pixel being set; for shapes, where a pixel is set or not.
logistic: the place of a logistic density, whose width is learned for each channel, cut into the 256 values of a pixel: between
the edges of the value, and beyond them for the first and the last (Salimans et al. 2017, "PixelCNN++", section 2.1, with one
component). Places and widths are in units of the whole range, as pixels in [0, 1] are.
mse, l1, huber: the pixel's value itself, with squared, absolute or Huber distance (a Gaussian or Laplace density of
fixed width up to constants; no bits per dimension can be derived from them).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec

Likelihood = Literal["bernoulli", "logistic", "mse", "l1", "huber"]
LikelihoodChoice = Literal["auto", "bernoulli", "mse", "l1", "huber"]
"""Of models that need no probability of an image, only a distance to it."""
Width = Tensor | None
"""Logarithms of the widths of the logistic densities, float32 [C]; None for every other likelihood."""
_HALF_STEP = 0.5 / 255


def choose(choice: LikelihoodChoice | Likelihood, spec: DataSpec, intensities: Likelihood = "mse") -> Likelihood:
    """The likelihood that fits the data's value kind, unless one was chosen; `intensities`: the one for these."""
    if choice != "auto":
        return choice
    return "bernoulli" if spec.value_kind == "binary" else intensities


def middle(kind: Likelihood) -> float:
    """The logit whose expected pixel is 1/2."""
    return 0.0 if kind == "bernoulli" else 0.5


def distance(kind: Likelihood, logits: Tensor, target: Tensor, width: Width = None) -> Tensor:
    """Mean negative log-likelihood (up to constants) of target pixels [B, C, H, W] in [0, 1]: a float32 scalar."""
    logits = logits.float()
    if kind == "bernoulli":
        return F.binary_cross_entropy_with_logits(logits, target)
    if kind == "logistic":
        return -_logistic(logits, target, _widths(width)).mean()
    if kind == "l1":
        return F.l1_loss(logits, target)
    if kind == "huber":
        return F.huber_loss(logits, target, delta=0.1)
    return F.mse_loss(logits, target)


def mean(kind: Likelihood, logits: Tensor, width: Width = None) -> Tensor:
    """The expected pixel, float32 in [0, 1]."""
    logits = logits.float()
    if kind == "bernoulli":
        return logits.sigmoid()
    if kind == "logistic":
        # The mean of the density with all beyond [0, 1] moved to the ends: the integral of the probability of being above.
        scale = _widths(width).exp()
        return (scale * (F.softplus(logits / scale) - F.softplus((logits - 1) / scale))).clamp(0, 1)
    return logits.clamp(0, 1)


def check_probability(kind: Likelihood) -> None:
    """Raise `ConfigError` for a likelihood under which an image has no probability."""
    if kind not in ("bernoulli", "logistic"):
        raise ConfigError(
            f"An image has no probability under the likelihood {kind}, which is a distance between pixels.",
            "Train with model.likelihood=logistic for intensities, or bernoulli for binary data.",
        )


def log_probability(kind: Likelihood, logits: Tensor, images: Tensor, width: Width = None) -> Tensor:
    """Log probability float64 [B] in nats of whole images [B, C, H, W] in [0, 1], whose pixels are independent given the logits.

    Raises `ConfigError` for a likelihood that has none, and for bernoulli where pixels are neither 0 nor 1.
    """
    check_probability(kind)
    if kind == "bernoulli":
        if not bool(((images == 0) | (images == 1)).all()):
            raise ConfigError(
                "Pixels between 0 and 1 have no probability under the likelihood bernoulli.",
                "Binarise the data, such as with data.value_kind=sampled, or train with model.likelihood=logistic.",
            )
        pixels = -F.binary_cross_entropy_with_logits(logits.float(), images, reduction="none")
    else:
        pixels = _logistic(logits.float(), images, _widths(width))
    return pixels.double().flatten(1).sum(dim=1)


def _logistic(places: Tensor, target: Tensor, widths: Tensor) -> Tensor:
    """Log probability float32 of each pixel in nats; `widths` [C, 1, 1]."""
    scale = widths.exp()
    below = F.logsigmoid((target + _HALF_STEP - places) / scale)
    above = F.logsigmoid((places - target + _HALF_STEP) / scale)
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): exact, however far away the pixel is.
    between = below + above + torch.log(-torch.expm1(-2 * _HALF_STEP / scale))
    return torch.where(target < _HALF_STEP, below, torch.where(target > 1 - _HALF_STEP, above, between))


def _widths(width: Width) -> Tensor:
    """[C, 1, 1]; asked for only where there are widths."""
    assert width is not None, "a logistic likelihood has a width"
    return width.float()[:, None, None]
