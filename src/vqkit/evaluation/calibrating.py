"""Fitting the temperature of completions, and what their spread leaves out, on validation images: see `inference.calibration`.

At each of a few temperatures, completions of the validation images are drawn, and the error of the decoder is fitted to them: of an
intensity, the deviation with which the central interval covers as many pixels as it should; of a shape, the log-odds of being set,
by logistic regression. The temperature is the one with the best fair CRPS, of intensities with that error. It is not fitted to
coverage as well: what the decoder gets wrong would be made up for by answers that are wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.evaluation.completion_quality import IMAGES_AT_ONCE, Sources, draw_completions
from vqkit.evaluation.ensemble_scores import LEVEL, coverage, fair_crps, ranks
from vqkit.evaluation.mask_scenarios import MaskScenario
from vqkit.evaluation.metrics import THRESHOLD
from vqkit.evaluation.progress import Progress
from vqkit.inference.calibration import Calibration, ComponentCalibration, log_odds, with_noise
from vqkit.inference.sampler import Sampler
from vqkit.interfaces.priors import Sampling

TEMPERATURES = (0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4)
_FIRST = 1.0
"""The temperature that is tried first; then the next one in the direction in which scores become better, until they do not."""
_MOST_PIXELS = 200_000
"""Missing pixels of a component that are looked at, at most."""
_FEWEST_PIXELS = 64
"""Of each image, whatever their number."""
_LARGEST_DEVIATION = 1.0
_HALVINGS = 20
_NEWTON_STEPS = 50


class DrawnPixels(NamedTuple):
    """Missing pixels of a component: K `answers` float32 [K, N], and the `truth` float32 [N]. Unit values."""

    answers: Tensor
    truth: Tensor


class Fitted(NamedTuple):
    """What was fitted to the pixels of a component, and the score that it has on them; smaller is better."""

    calibration: ComponentCalibration
    score: float


def fit_calibration(
    sampler: Sampler, scenarios: Sequence[MaskScenario], sources: Sources, count: int, sampling: Sampling, progress: Progress
) -> Calibration:
    """Fit the uncertainty of `count` completions of images, which the caller takes from the validation split, in some scenarios.

    `sampling` gives the seed. `count` is at least 2.
    """
    components = sampler.spec.component_specs
    found: dict[int, dict[str, Fitted]] = {}

    def score(number: int, other: int) -> float:
        """How good a temperature is compared to another one: below 1 is better. Fits what is not fitted yet."""
        for each in {number, other} - set(found):
            drawn = _draw(sampler, scenarios, sources, count, replace(sampling, temperature=TEMPERATURES[each]), progress)
            pixels = zip(components, drawn, strict=True)
            found[each] = {of.name: fit_component(of.kind == "binary", some) for of, some in pixels if len(some.truth)}
        scores = ([fitted.score for fitted in found[each].values()] for each in (number, other))
        return relative_score(*scores)

    best = climb(score, TEMPERATURES.index(_FIRST), len(TEMPERATURES))
    return Calibration(
        prior_digest=sampler.digest,
        tokenizer_digest=sampler.pipeline.digest,
        images=len(sources.positions),
        answers=count,
        level=LEVEL,
        scenarios=tuple(scenario.name for scenario in scenarios),
        temperature=TEMPERATURES[best],
        components={name: each.calibration for name, each in found[best].items()},
    )


def relative_score(scores: Sequence[float], others: Sequence[float]) -> float:
    """The geometric mean over the components of the quotients of two scores; a component without any error does not count."""
    quotients = [math.log(one / other) for one, other in zip(scores, others, strict=True) if one > 0 and other > 0]
    return math.exp(sum(quotients) / max(1, len(quotients)))


def climb(score: Callable[[int, int], float], start: int, count: int) -> int:
    """From `start`, the number below `count` better than its neighbours: `score` of a number and another, better below 1."""
    best = start
    for direction in (-1, 1):
        while 0 <= best + direction < count and score(best + direction, best) < 1:
            best += direction
        if best != start:
            break
    return best


def fit_component(binary: bool, pixels: DrawnPixels) -> Fitted:
    """Fit a component to its missing pixels, of which there is at least one."""
    return _fit_shape(pixels) if binary else _fit_intensity(pixels)


def _fit_intensity(pixels: DrawnPixels) -> Fitted:
    """The smallest deviation with which the central interval covers enough pixels, by bisection with the same noise throughout."""

    def noisy(deviation: float) -> Tensor:
        return with_noise(pixels.answers, deviation, generator_for("error of the decoder, fitted"))

    def covers(deviation: float) -> bool:
        return float(coverage(ranks(noisy(deviation), pixels.truth)).mean()) >= LEVEL

    low, high = 0.0, 0.0 if covers(0.0) else _LARGEST_DEVIATION
    for _ in range(_HALVINGS if high else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if covers(middle) else (middle, high)
    return Fitted(ComponentCalibration(deviation=high), float(fair_crps(noisy(high), pixels.truth).mean()))


def _fit_shape(pixels: DrawnPixels) -> Fitted:
    """Logistic regression of the truth on the log-odds of the answers, by Newton's method, with a weak pull to the identity."""
    count, number_set = len(pixels.answers), (pixels.answers >= THRESHOLD).sum(dim=0)
    actual = (pixels.truth >= THRESHOLD).double()
    many = torch.bincount(number_set, minlength=count + 1).double()
    set_in_truth = torch.bincount(number_set, weights=actual, minlength=count + 1)
    inputs = torch.stack([log_odds(torch.arange(count + 1), count), torch.ones(count + 1, dtype=torch.float64)])
    identity = torch.tensor([1.0, 0.0], dtype=torch.float64)
    values = identity.clone()
    for _ in range(_NEWTON_STEPS):
        predicted = torch.sigmoid(values @ inputs)
        slope = inputs @ (many * predicted - set_in_truth) + values - identity
        curvature = (inputs * (many * predicted * (1 - predicted))) @ inputs.T + torch.eye(2, dtype=torch.float64)
        step = torch.linalg.solve(curvature, slope)
        values = values - step * (1 / step.abs().amax().clamp_min(1))
    # Of the answers themselves: the Brier score of probabilities from K answers is worse, the more these differ.
    score = float(fair_crps(pixels.answers, pixels.truth).mean())
    return Fitted(ComponentCalibration(slope=float(values[0]), intercept=float(values[1])), score)


def _draw(
    sampler: Sampler, scenarios: Sequence[MaskScenario], sources: Sources, count: int, sampling: Sampling, progress: Progress
) -> list[DrawnPixels]:
    """Some of the missing pixels of each component: the same places in every image and at every temperature."""
    height, width = sources.batch.images.shape[2:]
    images = len(sources.positions)
    most = max(_FEWEST_PIXELS, _MOST_PIXELS // max(1, images * len(scenarios)))
    places = torch.randperm(height * width, generator=generator_for("pixels to calibrate on"))[:most]
    answers: list[list[Tensor]] = [[] for _ in sampler.spec.components]
    truths: list[list[Tensor]] = [[] for _ in sampler.spec.components]
    with progress(f"completed (temperature {sampling.temperature:g})", images * len(scenarios) * count) as advance:
        for scenario in scenarios:
            for start in range(0, images, IMAGES_AT_ONCE):
                some = sources.rows(torch.arange(start, min(start + IMAGES_AT_ONCE, images)))
                drawn = draw_completions(sampler, scenario, some, count, sampling, start, advance)
                for component in range(len(answers)):
                    judged = drawn.judged[:, component].flatten(1)[:, places]
                    values = drawn.answers[:, :, component].flatten(2)[:, :, places].transpose(0, 1)
                    answers[component].append(values[:, judged])
                    truths[component].append(drawn.truth[:, component].flatten(1)[:, places][judged])
    return [DrawnPixels(torch.cat(few, dim=1), torch.cat(own)) for few, own in zip(answers, truths, strict=True)]
