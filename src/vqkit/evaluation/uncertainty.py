"""Whether K completions differ as much from each other as from the truth, for each component, on what was missing.

docs/evaluation.md defines every figure; `ensemble_scores` has the formulas for single pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.evaluation.ensemble_scores import bernoulli_coverage, coverage, fair_crps, rank_histogram, ranks
from vqkit.evaluation.metrics import THRESHOLD
from vqkit.inference.calibration import Calibration, ComponentCalibration, with_noise
from vqkit.interfaces import DataSpec


@dataclass(frozen=True)
class Reliability:
    """Of the missing pixels of a binary component that 0 to K answers set: how `many` they are, and which `share` of them is set in
    truth, None where there are none. `error`: the expected calibration error, the mean over the pixels of |k / K - share|."""

    many: tuple[int, ...]
    share: tuple[float | None, ...]
    error: float


@dataclass(frozen=True)
class ComponentUncertainty:
    """How true the spread of K completions of a component is, over all missing `pixels` of all images, in unit values.

    `crps`: the mean fair continuous ranked probability score; of binary values the fair Brier score. `one_pass_error`: the same
    score of the tokenizer's single reconstruction, its mean absolute error. `coverage`: the share of pixels that the central
    interval of 90 % covers; `mean_coverage`: the share of images in which it covers the mean over the missing pixels, which for
    a shape is its area. `ranks`: the shares of the ranks 0 to K of the truth among the completions, all 1 / (K + 1) if the truth is
    like them. `reliability`: of a binary component, else None. `calibrated_crps`, `calibrated_coverage`: with the error of the
    decoder added (see `inference.calibration`); None without a calibration, or where it was fitted for other sampling.
    `contested_coverage`: of a binary component, the latter over the pixels that some, but not all, answers set; None also where
    there are none.
    """

    pixels: int
    crps: float
    one_pass_error: float
    coverage: float
    mean_coverage: float
    ranks: tuple[float, ...]
    reliability: Reliability | None
    calibrated_crps: float | None
    calibrated_coverage: float | None
    contested_coverage: float | None


class UncertaintyTerms(NamedTuple):
    """Sums over the missing pixels of each component of B images, float64 [B, C, ...].

    `crps`, `one_pass_error`, `covered` and `pixels` [B, C]; `mean_covered` [B, C]: whether the mean is covered; `ranks`
    [B, C, K + 1]; `chosen` [B, C, 2, K + 1]: pixels by the number of answers that set them, those that are not set in truth first.
    The others, [B, C]: see `CalibratedTerms`, NaN without a calibration.
    """

    crps: Tensor
    one_pass_error: Tensor
    covered: Tensor
    mean_covered: Tensor
    ranks: Tensor
    chosen: Tensor
    pixels: Tensor
    calibrated_crps: Tensor
    calibrated_covered: Tensor
    contested_covered: Tensor


class CalibratedTerms(NamedTuple):
    """With the error of the decoder, the score and the coverage summed over the judged pixels, float64 [B, C] each, and the
    coverage over those that some, but not all, answers set, NaN for intensities."""

    calibrated_crps: Tensor
    calibrated_covered: Tensor
    contested_covered: Tensor


def uncertainty_terms(answers: Tensor, one_pass: Tensor, truth: Tensor, judged: Tensor) -> UncertaintyTerms:
    """What is summed of answers [B, K, C, H, W] and reconstructions [B, C, H, W], in unit values, where `judged`; K is at least 2.

    Equal values of the files are equal unit values, so that ties are found. Image by image, which bounds the memory.
    """
    images = zip(*(torch.split(each, 1) for each in (answers, one_pass, truth, judged)), strict=True)
    return UncertaintyTerms(*map(torch.cat, zip(*(_terms(*image) for image in images), strict=True)))


def _terms(answers: Tensor, one_pass: Tensor, truth: Tensor, judged: Tensor) -> UncertaintyTerms:
    shape, count = truth.shape[:2], answers.shape[1]
    drawn, actual, where = answers.transpose(0, 1).flatten(3), truth.flatten(2), judged.flatten(2)
    found = ranks(drawn, actual)

    def total(values: Tensor) -> Tensor:
        return torch.where(where, values.double(), 0).sum(dim=2)

    rows = found._replace(below=found.below.flatten(0, 1), equal=found.equal.flatten(0, 1))
    means = [torch.where(where, values, 0).double().sum(dim=-1) for values in (drawn, actual)]
    number_set = (drawn >= THRESHOLD).sum(dim=0)
    place = (number_set + (count + 1) * (actual >= THRESHOLD)).flatten(0, 1)
    chosen = torch.zeros(len(place), 2 * (count + 1), dtype=torch.float64).scatter_add_(1, place, where.flatten(0, 1).double())
    return UncertaintyTerms(
        crps=total(fair_crps(drawn, actual)),
        one_pass_error=total((one_pass.flatten(2) - actual).abs()),
        covered=total(coverage(found)),
        mean_covered=coverage(ranks(means[0], means[1])),
        ranks=rank_histogram(rows, where.flatten(0, 1)).view(*shape, -1),
        chosen=chosen.view(*shape, 2, -1),
        pixels=where.sum(dim=2).double(),
        calibrated_crps=torch.full(shape, torch.nan, dtype=torch.float64),
        calibrated_covered=torch.full(shape, torch.nan, dtype=torch.float64),
        contested_covered=torch.full(shape, torch.nan, dtype=torch.float64),
    )


def calibrated_terms(
    answers: Tensor, truth: Tensor, judged: Tensor, calibration: Calibration, noise: Sequence[torch.Generator], spec: DataSpec
) -> CalibratedTerms:
    """The score and the coverage of answers with the error of the decoder.

    Shapes as for `uncertainty_terms`. An intensity is that of noisy answers, with a generator of `noise` for each image; a shape is
    set with the calibrated probability, whose score is that of Brier.
    """
    crps, covered, contested = torch.zeros(3, *truth.shape[:2], dtype=torch.float64)
    for component, described in enumerate(spec.component_specs):
        fitted = calibration.components.get(described.name, ComponentCalibration())
        for image, generator in enumerate(noise):
            where = judged[image, component]
            drawn, actual = answers[image, :, component, where], truth[image, component, where]
            if described.kind == "binary":
                number_set = (drawn >= THRESHOLD).sum(dim=0)
                probability = fitted.probability(number_set, len(drawn))
                inside = bernoulli_coverage(probability, actual >= THRESHOLD)
                crps[image, component] = (probability - actual).square().sum()
                covered[image, component] = inside.sum()
                contested[image, component] = inside[(number_set > 0) & (number_set < len(drawn))].sum()
            else:
                noisy = with_noise(drawn, fitted.deviation, generator)
                crps[image, component] = fair_crps(noisy, actual).sum()
                covered[image, component] = coverage(ranks(noisy, actual)).sum()
                contested[image, component] = torch.nan
    return CalibratedTerms(crps, covered, contested)


def component_uncertainty(terms: UncertaintyTerms, spec: DataSpec) -> dict[str, ComponentUncertainty]:
    """The means over all missing pixels, by the names of the components that miss any."""
    total = UncertaintyTerms(*(each.sum(dim=0) for each in terms))
    images = (terms.pixels > 0).double()
    mean_covered = (terms.mean_covered * images).sum(dim=0) / images.sum(dim=0)
    found = {}
    for position, component in enumerate(spec.component_specs):
        pixels = float(total.pixels[position])
        if pixels:
            found[component.name] = ComponentUncertainty(
                pixels=int(pixels),
                crps=float(total.crps[position]) / pixels,
                one_pass_error=float(total.one_pass_error[position]) / pixels,
                coverage=float(total.covered[position]) / pixels,
                mean_coverage=float(mean_covered[position]),
                ranks=tuple((total.ranks[position] / pixels).tolist()),
                reliability=reliability(total.chosen[position]) if component.kind == "binary" else None,
                calibrated_crps=_known(float(total.calibrated_crps[position]) / pixels),
                calibrated_coverage=_known(float(total.calibrated_covered[position]) / pixels),
                contested_coverage=_known(float(total.contested_covered[position] / total.chosen[position, :, 1:-1].sum())),
            )
    return found


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def reliability(chosen: Tensor) -> Reliability:
    """Of pixels [2, K + 1] by whether they are set in truth and by the number of answers that set them."""
    many, predicted = chosen.sum(dim=0), torch.linspace(0, 1, chosen.shape[1], dtype=torch.float64)
    error = float((predicted * many - chosen[1]).abs().sum() / many.sum())
    shares = (chosen[1] / many).tolist()
    return Reliability(tuple(map(int, many.tolist())), tuple(each if each == each else None for each in shares), error)
