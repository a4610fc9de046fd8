"""Quality and diversity of several completions of one partly observed image.

One pass of a tokenizer gives one completion, the expected image. A prior conditioned on observed parts draws any number K of them:
the best of K measures whether the true image is among them, and diversity how much they differ. All is measured on what was
missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core import distributed
from vqkit.core.randomness import generator_for
from vqkit.evaluation.error_meter import pooled_psnr
from vqkit.evaluation.mask_scenarios import MaskKind, MaskScenario
from vqkit.evaluation.metrics import THRESHOLD, overlap, peak_signal_to_noise
from vqkit.evaluation.progress import Progress
from vqkit.evaluation.uncertainty import (
    ComponentUncertainty,
    UncertaintyTerms,
    calibrated_terms,
    component_uncertainty,
    uncertainty_terms,
)
from vqkit.inference.pipeline import Conditions
from vqkit.inference.postprocess import fill_missing
from vqkit.inference.ranking import shape_distances
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, DataSpec, where_present
from vqkit.interfaces.priors import Sampling

IMAGES_AT_ONCE = 16
"""Images whose completions are held in memory together."""


@dataclass(frozen=True)
class Score:
    """A metric of each component that was missing, averaged over the images in which it was.

    `mean` over these components; None where there are none, or where some are scored by IoU and others by PSNR. `pooled_psnr`
    (decibels): of the mean squared error over all missing pixels of the intensities together; None without any.
    """

    components: dict[str, float]
    mean: float | None
    pooled_psnr: float | None = None


@dataclass(frozen=True)
class CompletionMetrics:
    """Quality of `samples` = K completions of each of `images` partly observed images, on what was missing.

    `metrics` of each component that was missing, between a completion and the true image: iou for a binary one, psnr (decibels)
    for intensities; `metric`: the one that all components of these data have, or mixed. `one_pass`: of the tokenizer's
    reconstruction; `most_likely`: of the completion with the highest likelihood under the prior; `consensus`: of that with
    the least expected error to the others and to the answer of one pass (see `ranking`); `mean` over all K;
    `best_per_component`: the best of K for each component by itself; `best_of_k`: the completion with the best mean over the
    missing components (of mixed components: with the smallest squared error). `diversity`: mean over all pairs of completions of
    an image of 1 - IoU between them (binary components) or of the mean squared difference (intensities); None for K = 1.
    `uncertainty`: whether they differ as much from each other as from the truth, for each component; empty for K = 1.
    """

    name: str
    keep: tuple[str, ...]
    missing: tuple[str, ...]
    mask_kind: MaskKind | None
    images: int
    samples: int
    metric: str
    metrics: dict[str, str]
    one_pass: Score
    most_likely: Score
    consensus: Score
    mean: Score
    best_per_component: Score
    best_of_k: Score
    diversity: Score | None
    uncertainty: dict[str, ComponentUncertainty]


class Comparisons(NamedTuple):
    """Completions of B images, the most likely first, compared: float64, NaN where nothing of a component was missing.

    `one_pass` [B, C] and `completions` [B, K, C] with the true images, `diversity` [B, C] with each other. `one_pass_errors`
    [B, C] and `errors` [B, K, C]: the squared errors summed over the `pixels` [B, C] that were missing. `consensus` int64 [B]: the
    number of the completion with the least expected error.
    """

    one_pass: Tensor
    completions: Tensor
    diversity: Tensor
    one_pass_errors: Tensor
    errors: Tensor
    pixels: Tensor
    consensus: Tensor


class Sources(NamedTuple):
    """The images that are completed: a batch of stored values [B, C, H, W], and their positions in the split, int64 [B]."""

    batch: Batch
    positions: Tensor

    def rows(self, chosen: Tensor) -> Sources:
        """Some of the images, by number (int64 [N]) or mask (bool [B])."""
        whole = self.batch._replace(present=self.batch.observed)
        return Sources(whole.map(lambda tensor: tensor[chosen]), self.positions[chosen])


def measure_completions(
    sampler: Sampler, scenario: MaskScenario, sources: Sources, count: int, sampling: Sampling, progress: Progress
) -> CompletionMetrics | None:
    """Draw `count` completions of each image, conditioned on what a scenario leaves and on the batch's conditions; measure them.

    Images in which a scenario judges nothing are left out; None where these are all. The processes complete a part each; every
    process must call it.
    """
    shape, present = sources.batch.images.shape, sources.batch.observed
    judged = scenario.judged(present, scenario.observed(sources.positions, shape) & present).flatten(1).any(dim=1)
    if not bool(judged.any()):
        return None
    sources = sources.rows(judged)
    parts: list[Comparisons] = []
    spreads: list[UncertaintyTerms] = []
    # Whole groups of images: a group is drawn together, and its first number decides the noise.
    starts = range(0, len(sources.positions), IMAGES_AT_ONCE)
    own = distributed.share_of(range(len(starts)))
    images = sum(min(IMAGES_AT_ONCE, len(sources.positions) - starts[group]) for group in own)
    with progress(f"completed ({scenario.name})", images * count) as advance:
        for start in (starts[group] for group in own):
            some = sources.rows(torch.arange(start, min(start + IMAGES_AT_ONCE, len(sources.positions))))
            compared, terms = _complete(sampler, scenario, some, count, sampling, start, advance)
            parts.append(compared)
            spreads += [] if terms is None else [terms]
    spread = UncertaintyTerms(*_joined(spreads, len(UncertaintyTerms._fields))) if count > 1 else None
    return completion_metrics(scenario, Comparisons(*_joined(parts, len(Comparisons._fields))), spread, sampler.spec)


def _joined(parts: Sequence[Sequence[Tensor]], fields: int) -> Iterator[Tensor]:
    """The rows of groups of images, of all processes in order, field by field; a process may have none."""
    for field in range(fields):
        yield distributed.gather_rows(torch.cat([part[field] for part in parts]) if parts else torch.empty(0))


def _complete(
    sampler: Sampler,
    scenario: MaskScenario,
    sources: Sources,
    count: int,
    sampling: Sampling,
    first: int,
    advance: Callable[[float], None],
) -> tuple[Comparisons, UncertaintyTerms | None]:
    """Complete a few images, of which the first has the number `first`, and compare; a single completion has no spread."""
    spec, images = sampler.spec, sources.batch.images
    drawn = draw_completions(sampler, scenario, sources, count, sampling, first, advance)
    filled = sampler.pipeline.fill(images, drawn.observed, _known_conditions(sampler, sources))
    one_pass = fill_missing(filled, drawn.truth, drawn.observed, spec)
    compared = compare_completions(drawn.answers, one_pass, drawn.truth, drawn.judged, drawn.consensus, spec)
    if count == 1:
        return compared, None
    spread = uncertainty_terms(drawn.answers, one_pass, drawn.truth, drawn.judged)
    if sampler.calibration is not None and sampler.calibration.fits(sampling):
        noise = [generator_for("error of the decoder", sampling.seed, first + image) for image in range(len(images))]
        found = calibrated_terms(drawn.answers, drawn.truth, drawn.judged, sampler.calibration, noise, spec)
        spread = spread._replace(**found._asdict())
    return compared, spread


class Drawn(NamedTuple):
    """`answers` [B, K, C, H, W] to B images, the most likely first, and the `truth` [B, C, H, W], in unit values; what was
    `observed` and what is `judged`, bool [B, C, H, W]; `consensus`: see `Comparisons`."""

    answers: Tensor
    truth: Tensor
    observed: Tensor
    judged: Tensor
    consensus: Tensor


def draw_completions(
    sampler: Sampler,
    scenario: MaskScenario,
    sources: Sources,
    count: int,
    sampling: Sampling,
    first: int,
    advance: Callable[[float], None],
) -> Drawn:
    """Complete images, of which the first has the number `first`, from what a scenario leaves of them."""
    spec, images, present = sampler.spec, sources.batch.images, sources.batch.observed
    observed = scenario.observed(sources.positions, images.shape) & present
    known = _known_conditions(sampler, sources)
    stored = _as_trained(where_present(images, present), spec)
    found = sampler.complete(stored, observed, count, known, sampling, advance=advance, first=first, rank="likelihood")
    answers = spec.to_unit(found.images.flatten(0, 1)).view(found.images.shape)
    truth = where_present(spec.to_unit(images), present)
    return Drawn(answers, truth, observed, scenario.judged(present, observed), found.expected_error.argmin(dim=1))


def _as_trained(images: Tensor, spec: DataSpec) -> Tensor:
    """Stored values in the type of the training data: the same numbers may come in another type, such as float32."""
    if images.dtype == spec.stored_dtype or spec.stored_dtype.is_floating_point:
        return images.to(spec.stored_dtype)
    limits = torch.iinfo(spec.stored_dtype)
    return images.double().round().clamp(limits.min, limits.max).to(spec.stored_dtype)


def _known_conditions(sampler: Sampler, sources: Sources) -> Conditions:
    """The conditions of images by name; none for a prior that was not trained with them."""
    names = sampler.spec.condition_names if sampler.prior.spec.conditions else ()
    return dict(zip(names, sources.batch.conditions.T, strict=True)) if names else {}


def compare_completions(
    completions: Tensor, one_pass: Tensor, images: Tensor, judged: Tensor, consensus: Tensor, spec: DataSpec
) -> Comparisons:
    """Compare completions [B, K, C, H, W] and reconstructions [B, C, H, W] with images, in unit values, where `judged` is True.

    `consensus`: see `Comparisons`.
    """
    count = completions.shape[1]
    truth, missing = (each.repeat_interleave(count, dim=0) for each in (images, judged))
    drawn = completions.flatten(0, 1)
    accuracy = compare(drawn, truth, missing, spec).view(len(images), count, -1)
    shapes, values = shape_diversity(completions >= THRESHOLD, judged), value_diversity(completions, judged)
    return Comparisons(
        one_pass=compare(one_pass, images, judged, spec),
        completions=accuracy,
        diversity=torch.where(spec.binary, shapes, values),
        one_pass_errors=squared_errors(one_pass, images, judged),
        errors=squared_errors(drawn, truth, missing).view(accuracy.shape),
        pixels=judged.flatten(2).sum(2),
        consensus=consensus,
    )


def compare(predictions: Tensor, truth: Tensor, judged: Tensor, spec: DataSpec) -> Tensor:
    """IoU of each binary component and PSNR of each intensity, float64 [B, C]; NaN where nothing is judged. Unit values."""
    pixels = judged.flatten(2).sum(2)
    psnr = peak_signal_to_noise(squared_errors(predictions, truth, judged) / pixels.clamp_min(1))
    metric = torch.where(spec.binary, overlap(predictions, truth, judged).iou, psnr)
    return metric.masked_fill(pixels == 0, torch.nan)


def squared_errors(predictions: Tensor, truth: Tensor, judged: Tensor) -> Tensor:
    """The squared error of each component summed over the judged pixels, float64 [B, C]."""
    return torch.where(judged, (predictions.double() - truth.double()).square(), 0).flatten(2).sum(2)


def shape_diversity(shapes: Tensor, judged: Tensor) -> Tensor:
    """Mean over pairs of 1 - IoU, float64 [B, C], of masks bool [B, K, C, H, W] where `judged` [B, C, H, W]; NaN without a pair."""
    first, second = torch.triu_indices(shapes.shape[1], shapes.shape[1], 1)
    distances = shape_distances(shapes, judged)[:, :, first, second]
    return distances.mean(dim=2).masked_fill(~judged.flatten(2).any(2), torch.nan)


def value_diversity(values: Tensor, judged: Tensor) -> Tensor:
    """Mean over pairs of the mean squared difference, float64 [B, C], of unit values [B, K, C, H, W]; see `shape_diversity`.

    The mean squared difference over all pairs of numbers is twice their unbiased variance.
    """
    spread = 2 * values.double().var(dim=1) if values.shape[1] > 1 else torch.full(judged.shape, torch.nan).double()
    pixels = judged.flatten(2).sum(2)
    return (torch.where(judged, spread, 0).flatten(2).sum(2) / pixels).masked_fill(pixels == 0, torch.nan)


def completion_metrics(
    scenario: MaskScenario, comparisons: Comparisons, spread: UncertaintyTerms | None, spec: DataSpec
) -> CompletionMetrics:
    """Averages over images, by component name."""
    each, errors, pixels = comparisons.completions, comparisons.errors, comparisons.pixels
    total = -errors.sum(dim=2) if spec.value_kind == "mixed" else each.nanmean(dim=2).nan_to_num(0)

    def score_of(answers: Tensor) -> Score:
        chosen = answers[:, None, None]
        return score(each.take_along_dim(chosen, 1)[:, 0], spec, errors.take_along_dim(chosen, 1)[:, 0], pixels)

    kept = tuple(spec.components[position] for position in scenario.keep)
    metrics = zip(spec.component_specs, pixels.any(dim=0).tolist(), strict=True)
    return CompletionMetrics(
        name=scenario.name,
        keep=kept,
        missing=tuple(name for name in spec.components if name not in kept),
        mask_kind=scenario.mask_kind,
        images=len(each),
        samples=each.shape[1],
        metric={"binary": "iou", "intensity": "psnr", "mixed": "mixed"}[spec.value_kind],
        metrics={of.name: "iou" if of.kind == "binary" else "psnr" for of, missing in metrics if missing},
        one_pass=score(comparisons.one_pass, spec, comparisons.one_pass_errors, pixels),
        most_likely=score(each[:, 0], spec, errors[:, 0], pixels),
        consensus=score_of(comparisons.consensus),
        mean=score(each.mean(dim=1), spec, errors.mean(dim=1), pixels),
        best_per_component=score(each.amax(dim=1), spec, errors.amin(dim=1), pixels),
        best_of_k=score_of(total.argmax(dim=1)),
        diversity=score(comparisons.diversity, spec) if each.shape[1] > 1 else None,
        uncertainty={} if spread is None else component_uncertainty(spread, spec),
    )


def score(values: Tensor, spec: DataSpec, errors: Tensor | None = None, pixels: Tensor | None = None) -> Score:
    """The mean over images of values [B, C]; components that are NaN in all of them are left out.

    `errors` [B, C], squared and summed over `pixels` [B, C]: for the pooled PSNR.
    """
    means = dict(zip(spec.components, values.nanmean(dim=0).tolist(), strict=True))
    components = {name: mean for name, mean in means.items() if mean == mean}
    kinds = {each.kind for each in spec.component_specs if each.name in components}
    mean = sum(components.values()) / len(components) if len(kinds) == 1 else None
    pooled = None
    if errors is not None and pixels is not None and bool(pixels[:, ~spec.binary].any()):
        pooled = pooled_psnr(float(errors[:, ~spec.binary].sum() / pixels[:, ~spec.binary].sum()))
    return Score(components, mean, pooled)
