"""The likelihoods that a model's option `likelihood` can name.

bernoulli: the logit is that of a pixel being set; for binary images.
logistic: the logit is the location of a logistic density with a learned scale per channel, discretised to the whole numbers that a
pixel can be: the probability of a value is the mass between its edges, and beyond them for the first and the last (Salimans et al.
2017, "PixelCNN++", section 2.1, with one component). Locations and scales are unit values, as pixels are.
gaussian: the logit is the mean of a normal density with a learned scale per channel (Rybkin et al. 2021, "Simple and Effective VAE
Training with Calibrated Decoders"), for values that are not whole numbers on a linear scale. What it gives are densities of unit
values: bits per dimension can be negative, and compare models of the same data only.
mse, l1, huber: the logit is the pixel itself, and the loss its squared, absolute or Huber distance from the target: up to
constants, a Gaussian or Laplace density of fixed scale, under which an image has no probability and no bits per dimension. In a VAE
that scale, far from that of the errors, makes latents cost more than they save: use gaussian there.
log-mse: as mse, but the loss is the logarithm of each image's mean squared error: up to constants, a Gaussian density whose scale
is that of the image. What matters is how many times smaller an error becomes, in easy images as in hard ones, as for PSNR averaged
over images.
mixed: bernoulli for the binary components, and one of the others for the intensities.

Where pixels are not present, they are in no sum and no mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.errors import ConfigError
from vqkit.interfaces import ComponentSpec, DataSpec, Likelihood
from vqkit.interfaces.components import DTYPES
from vqkit.models.distances import AbsoluteError, HuberError, LogSquaredError, SquaredError
from vqkit.models.pixel_likelihood import ClippedLikelihood, PixelLikelihood

LikelihoodName = Literal["bernoulli", "logistic", "gaussian", "mse", "log-mse", "l1", "huber"]
LikelihoodChoice = Literal["auto", "bernoulli", "logistic", "gaussian", "mse", "log-mse", "l1", "huber"]
DistanceChoice = Literal["auto", "bernoulli", "mse", "log-mse", "l1", "huber"]
"""For models that only need a distance between images, not a probability."""

_FIRST_LOG_SCALE, _SMALLEST_LOG_SCALE = -2.0, -7.0
"""Logarithm of a learned scale before training, and its lower bound."""
_LOG_SCALE_RATE = 10.0
"""How many times faster than a weight the log scale is learned: it has far to go until reconstruction loss and KL balance."""


class Bernoulli(PixelLikelihood):
    """A pixel is set with probability sigmoid(logit)."""

    name: ClassVar[str] = "bernoulli"
    mid_logit: ClassVar[float] = 0.0
    logit_is_pixel: ClassVar[bool] = False

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none")

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return logits.float().sigmoid()

    def log_prob(self, logits: Tensor, images: Tensor, present: Tensor | None = None) -> Tensor:
        """See `Likelihood.log_prob`. Raises `ConfigError` for pixels that are neither 0 nor 1."""
        if not bool(((images == 0) | (images == 1)).all()):
            raise ConfigError(
                "Pixels between 0 and 1 have no probability under the likelihood bernoulli.",
                "Binarise the data, such as with data.value_kind=sampled, or train with model.likelihood=logistic.",
            )
        return super().log_prob(logits, images, present)


class LearnedScale(PixelLikelihood):
    """A density with a learned scale of each channel, in unit values."""

    def __init__(self, component_specs: Sequence[ComponentSpec]) -> None:
        super().__init__(component_specs)
        self.raw_log_scale = nn.Parameter(torch.zeros(len(self.component_specs)))

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of the scale of each channel, float32 [C]."""
        return (_FIRST_LOG_SCALE + _LOG_SCALE_RATE * self.raw_log_scale).clamp(min=_SMALLEST_LOG_SCALE)


class Gaussian(LearnedScale, ClippedLikelihood):
    """A pixel is drawn from a normal density around the logit."""

    name: ClassVar[str] = "gaussian"

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        log_scale = _per_channel(self.log_scale)
        return 0.5 * ((target - logits) / log_scale.exp()).square() + log_scale + 0.5 * math.log(2 * math.pi)


class DiscretizedLogistic(LearnedScale):
    """A pixel is drawn from a logistic density with the logit as location, discretised to the values of an integer type.

    Raises `ConfigError` for components that are not whole numbers on a linear scale.
    """

    name: ClassVar[str] = "logistic"
    half_step: Tensor
    first: Tensor
    last: Tensor

    def __init__(self, component_specs: Sequence[ComponentSpec]) -> None:
        super().__init__(component_specs)
        for each in self.component_specs:
            if not is_discrete(each):
                raise ConfigError(
                    f"The likelihood logistic is for whole numbers on a linear scale; the component {each.name} is "
                    f"{each.dtype}, {each.transform}.",
                    "Train with model.likelihood=gaussian.",
                )
        spans = [each.high - each.low for each in self.component_specs]
        limits = [torch.iinfo(DTYPES[each.dtype]) for each in self.component_specs]
        named = zip(self.component_specs, limits, spans, strict=True)
        ends = [((limit.min - each.low) / span, (limit.max - each.low) / span) for each, limit, span in named]
        for name, values in {
            "half_step": [0.5 / span for span in spans],
            "first": [low for low, _ in ends],
            "last": [high for _, high in ends],
        }.items():
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        return -logistic_log_prob(logits, self.log_scale, target, self.half_step, self.first, self.last)

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return logistic_mean(logits.float(), self.log_scale, self.first, self.last)


LIKELIHOODS: dict[str, type[PixelLikelihood]] = {
    each.name: each for each in (Bernoulli, DiscretizedLogistic, Gaussian, SquaredError, LogSquaredError, AbsoluteError, HuberError)
}


class Mixed(PixelLikelihood):
    """Bernoulli for the binary components, and `intensities` for the others. Components stay in their order."""

    name: ClassVar[str] = "mixed"

    def __init__(self, component_specs: Sequence[ComponentSpec], intensities: LikelihoodName) -> None:
        super().__init__(component_specs)
        places: dict[bool, list[int]] = {True: [], False: []}
        for position, each in enumerate(self.component_specs):
            places[each.kind == "binary"].append(position)
        self.places = places
        self.binary = Bernoulli([self.component_specs[position] for position in places[True]])
        self.intensity = LIKELIHOODS[intensities]([self.component_specs[position] for position in places[False]])

    @property
    def mid_logits(self) -> Tensor:
        """See `Likelihood.mid_logits`."""
        return self._joined(self.binary.mid_logits, self.intensity.mid_logits, dim=0)

    @property
    def pixel_logits(self) -> Tensor:
        """See `Likelihood.pixel_logits`."""
        return self._joined(self.binary.pixel_logits, self.intensity.pixel_logits, dim=0)

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        binary, intensity = self.places[True], self.places[False]
        return self._joined(
            self.binary.pixel_loss(logits[:, binary], target[:, binary]),
            self.intensity.pixel_loss(logits[:, intensity], target[:, intensity]),
        )

    def weighted_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.weighted_loss`."""
        binary, intensity = self.places[True], self.places[False]
        return self._joined(
            self.binary.weighted_loss(logits[:, binary], target[:, binary]),
            self.intensity.weighted_loss(logits[:, intensity], target[:, intensity]),
        )

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return self._joined(self.binary.mean(logits[:, self.places[True]]), self.intensity.mean(logits[:, self.places[False]]))

    def log_prob(self, logits: Tensor, images: Tensor, present: Tensor | None = None) -> Tensor:
        """See `Likelihood.log_prob`. Raises what the parts raise."""
        where = None if present is None else present.expand_as(images)
        return torch.stack(
            [
                part.log_prob(logits[:, places], images[:, places], None if where is None else where[:, places])
                for part, places in ((self.binary, self.places[True]), (self.intensity, self.places[False]))
            ]
        ).sum(dim=0)

    def _joined(self, binary: Tensor, intensity: Tensor, dim: int = 1) -> Tensor:
        """The two parts' channels in the order of the components."""
        order = torch.tensor(self.places[True] + self.places[False], device=binary.device).argsort()
        return torch.cat([binary, intensity], dim=dim).index_select(dim, order)


def build_likelihood(choice: LikelihoodChoice, spec: DataSpec, intensities: LikelihoodName = "mse") -> Likelihood:
    """The chosen likelihood of images.

    `auto`: bernoulli for binary components and, for intensities, `intensities`; gaussian in place of logistic where some are not
    whole numbers on a linear scale, to which a logistic density is discretised. For mixed components a choice is that of the
    intensities.
    """
    measured = [each for each in spec.component_specs if each.kind == "intensity"]
    if choice == "auto":
        continuous = intensities == "logistic" and not all(map(is_discrete, measured))
        choice = "bernoulli" if not measured else "gaussian" if continuous else intensities
    if spec.value_kind == "mixed" and choice == "log-mse":
        raise ConfigError(
            "The likelihood log-mse compares whole images; shapes beside intensities have a likelihood of each pixel.",
            "Train with model.likelihood=mse.",
        )
    if spec.value_kind == "mixed" and choice != "bernoulli":
        return Mixed(spec.component_specs, choice)
    return LIKELIHOODS[choice](spec.component_specs)


def is_discrete(spec: ComponentSpec) -> bool:
    """Whether the values of a component are whole numbers on a linear scale."""
    return spec.is_integer and spec.transform == "linear"


def logistic_log_prob(
    loc: Tensor, log_scale: Tensor, pixels: Tensor, half_step: Tensor | float, first: Tensor | float, last: Tensor | float
) -> Tensor:
    """Log probability, in nats, of each pixel under the discretised logistic: float32 [B, C, H, W].

    `loc` [B, C, H, W] and `log_scale` [C] are its parameters; `pixels` [B, C, H, W]; `half_step`: half the distance between two
    values of a pixel, `first` and `last` of them, [C, 1, 1] each; all in unit values.
    """
    scale = _per_channel(log_scale).exp()
    below = F.logsigmoid((pixels + half_step - loc) / scale)
    above = F.logsigmoid((loc - pixels + half_step) / scale)
    # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)): exact, however far the pixel is from the location.
    between = below + above + torch.log(-torch.expm1(-2 * half_step / scale))
    return torch.where(pixels < first + half_step, below, torch.where(pixels > last - half_step, above, between))


def logistic_mean(loc: Tensor, log_scale: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The mean [B, C, H, W] of the logistic density (see `logistic_log_prob`), the mass beyond `first` and `last` moved there."""
    # It is `first` plus the integral from there to `last` of the probability of being above.
    scale = _per_channel(log_scale).exp()
    mean = first + scale * (F.softplus((loc - first) / scale) - F.softplus((loc - last) / scale))
    return mean.clamp(first, last)


def _per_channel(values: Tensor) -> Tensor:
    """Values [C] as float32 [C, 1, 1]."""
    return values.float()[:, None, None]
