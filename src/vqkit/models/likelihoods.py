"""The likelihoods that a model's option `likelihood` can name.

bernoulli: the logit is that of a pixel being set; for binary images.
logistic: the logit is the location of a logistic density with a learned scale per channel, discretised to the whole numbers that a
pixel can be: the probability of a value is the mass between its edges, and beyond them for the first and the last (Salimans et al.
2017, "PixelCNN++", section 2.1, with one component). Locations and scales are unit values, as pixels are.
mse, l1, huber: the logit is the pixel itself, and the loss its squared, absolute or Huber distance from the target: up to
constants, a Gaussian or Laplace density of fixed scale, under which an image has no probability and no bits per dimension.
log-mse: as mse, but the loss is the logarithm of each image's mean squared error: up to constants, a Gaussian density whose scale
is that of the image. What matters is how many times smaller an error becomes, in easy images as in hard ones, as for PSNR averaged
over images.
mixed: bernoulli for the binary components, and one of the others for the intensities.

Where pixels are not present, they are in no sum and no mean.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.core import distributed
from vqkit.errors import ConfigError
from vqkit.interfaces import ComponentSpec, DataSpec, Likelihood
from vqkit.interfaces.components import DTYPES

LikelihoodName = Literal["bernoulli", "logistic", "mse", "log-mse", "l1", "huber"]
LikelihoodChoice = Literal["auto", "bernoulli", "logistic", "mse", "log-mse", "l1", "huber"]
DistanceChoice = Literal["auto", "bernoulli", "mse", "log-mse", "l1", "huber"]
"""For models that only need a distance between images, not a probability."""

_FIRST_LOG_SCALE, _SMALLEST_LOG_SCALE = -2.0, -7.0
"""Logarithm of the logistic scale before training, and its lower bound."""
_LOGARITHMIC_ABOVE = 0.02
"""The mean squared error, in unit values, above which `log-mse` becomes logarithmic."""
_LOG_SCALE_RATE = 10.0
"""How many times faster than a weight the log scale is learned: it has far to go until reconstruction loss and KL balance."""


class PixelLikelihood(Likelihood):
    """A likelihood that is a sum over pixels. `mid_logit`: the logit whose expected pixel is 1/2."""

    mid_logit: ClassVar[float]

    @property
    def mid_logits(self) -> Tensor:
        """See `Likelihood.mid_logits`."""
        return torch.full((len(self.component_specs),), self.mid_logit)

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


class Bernoulli(PixelLikelihood):
    """A pixel is set with probability sigmoid(logit)."""

    name: ClassVar[str] = "bernoulli"
    mid_logit: ClassVar[float] = 0.0

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


class DiscretizedLogistic(PixelLikelihood):
    """A pixel is drawn from a logistic density with the logit as location, discretised to the values of an integer type.

    Raises `ConfigError` for components that are not whole numbers on a linear scale.
    """

    name: ClassVar[str] = "logistic"
    mid_logit: ClassVar[float] = 0.5
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
                    "Train with model.likelihood=mse.",
                )
        self.raw_log_scale = nn.Parameter(torch.zeros(len(self.component_specs)))
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

    @property
    def log_scale(self) -> Tensor:
        """Logarithm of the scale of each channel, float32 [C]."""
        return (_FIRST_LOG_SCALE + _LOG_SCALE_RATE * self.raw_log_scale).clamp(min=_SMALLEST_LOG_SCALE)

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        return -logistic_log_prob(logits, self.log_scale, target, self.half_step, self.first, self.last)

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return logistic_mean(logits.float(), self.log_scale, self.first, self.last)


class PixelDistance(PixelLikelihood):
    """A distance between pixels in place of a likelihood; the logit is the pixel.

    Expected pixels are clipped to the extremes of the training data. In the loss each component has the weight
    `component_weights` [C, 1, 1], so that dark components count as much as bright ones: see `set_variances`.
    """

    mid_logit: ClassVar[float] = 0.5
    lowest: Tensor
    highest: Tensor
    component_weights: Tensor

    def __init__(self, component_specs: Sequence[ComponentSpec]) -> None:
        super().__init__(component_specs)
        bounds = torch.tensor([each.unit_bounds for each in self.component_specs])
        self.register_buffer("lowest", bounds[:, 0, None, None], persistent=False)
        self.register_buffer("highest", bounds[:, 1, None, None], persistent=False)
        self.register_buffer("component_weights", torch.ones(len(self.component_specs), 1, 1))

    @torch.no_grad()
    def set_variances(self, variances: Tensor) -> None:
        """Weight each component by the inverse of its variance ([C], of the training pixels); the mean weight is 1.

        A variance counts as at least a hundredth of the largest: a constant component would outweigh all others.
        """
        weights = 1 / variances.clamp_min(float(variances.max()) / 100).clamp_min(1e-12)
        self.component_weights.copy_((weights / weights.mean()).to(self.component_weights)[:, None, None])

    def weighted_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.weighted_loss`."""
        return self.component_weights * self.pixel_loss(logits, target)

    def mean(self, logits: Tensor) -> Tensor:
        """See `Likelihood.mean`."""
        return logits.float().clamp(self.lowest, self.highest)

    def log_prob(self, logits: Tensor, images: Tensor, present: Tensor | None = None) -> Tensor:
        """Raises `ConfigError`: a distance gives no probability."""
        raise ConfigError(
            f"An image has no probability under the likelihood {self.name}, which is a distance between pixels.",
            "Train with model.likelihood=logistic for intensities, or bernoulli for binary data.",
        )


class SquaredError(PixelDistance):
    """The squared distance."""

    name: ClassVar[str] = "mse"

    def pixel_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """See `PixelLikelihood.pixel_loss`."""
        return F.mse_loss(logits, target, reduction="none")


class LogSquaredError(SquaredError):
    """The logarithm of the mean squared distance of each image, `c log(1 + mse / c)` with c = 0.004.

    An image whose error is far above c counts less, one far below it as in `SquaredError`, so that weights of other losses keep
    their meaning. c is an error of 0.063 of the range.
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


LIKELIHOODS: dict[str, type[PixelLikelihood]] = {
    each.name: each for each in (Bernoulli, DiscretizedLogistic, SquaredError, LogSquaredError, AbsoluteError, HuberError)
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

    `auto`: bernoulli for binary components and, for intensities, `intensities`, or mse where some are not whole numbers on a linear
    scale, which a logistic density is not discretised to. For mixed components a choice is that of the intensities.
    """
    measured = [each for each in spec.component_specs if each.kind == "intensity"]
    if choice == "auto":
        choice = "bernoulli" if not measured else intensities if all(map(is_discrete, measured)) else "mse"
    if spec.value_kind == "mixed" and choice == "log-mse":
        raise ConfigError(
            "The likelihood log-mse compares whole images; shapes beside intensities have a likelihood of each pixel.",
            "Train with model.likelihood=mse.",
        )
    if spec.value_kind == "mixed" and choice != "bernoulli":
        return Mixed(spec.component_specs, choice)
    return LIKELIHOODS[choice](spec.component_specs)


def values_per_image(present: Tensor, training: bool) -> Tensor:
    """How many values of an image are `present`, bool [B, C, H, W], on average: a float32 scalar.

    In `training` the average is over the batch of all processes, of which each has as many images.
    """
    count = present.sum(dtype=torch.float32) / len(present)
    if training:  # the batches of validation may differ in number between the processes
        distributed.all_reduce(count)
        count = count / distributed.world_size()
    return count


def _logarithm(errors: Tensor) -> Tensor:
    return _LOGARITHMIC_ABOVE * torch.log1p(errors / _LOGARITHMIC_ABOVE)


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
