"""Quality and diversity of several completions of one partly observed image.

One pass of a tokenizer gives one completion, the expected image. A prior conditioned on observed parts draws any number K of them:
the best of K measures whether the true image is among them, and diversity how much they differ. All is measured on what was
missing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.evaluation.mask_scenarios import MaskKind, MaskScenario
from vqkit.evaluation.metrics import THRESHOLD, overlap, peak_signal_to_noise
from vqkit.evaluation.progress import Progress
from vqkit.inference.postprocess import fill_missing
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, DataSpec, where_present
from vqkit.interfaces.priors import Sampling

IMAGES_AT_ONCE = 16
"""Images whose completions are held in memory together."""


@dataclass(frozen=True)
class Score:
    """A metric of each component that was missing, averaged over images, and the mean over these components."""

    components: dict[str, float]
    mean: float


@dataclass(frozen=True)
class CompletionMetrics:
    """Quality of `samples` = K completions of each of `images` partly observed images, on what was missing.

    `metric` between a completion and the true image: iou for binary data, psnr (decibels) for intensities. `one_pass`: of the
    tokenizer's reconstruction; `most_likely`: of the completion with the highest likelihood under the prior; `mean` over all K;
    `best_per_component`: the best of K for each component by itself; `best_of_k`: the completion with the best mean over the
    missing components. `diversity`: mean over all pairs of completions of an image of 1 - IoU between them (binary data) or of
    the mean squared difference (intensities); None for K = 1.
    """

    name: str
    keep: tuple[str, ...]
    missing: tuple[str, ...]
    mask_kind: MaskKind | None
    images: int
    samples: int
    metric: str
    one_pass: Score
    most_likely: Score
    mean: Score
    best_per_component: Score
    best_of_k: Score
    diversity: Score | None


class Comparisons(NamedTuple):
    """Completions of B images, compared: float64, NaN where nothing of a component was missing.

    `one_pass` [B, C] and `completions` [B, K, C] with the true images, `diversity` [B, C] with each other.
    """

    one_pass: Tensor
    completions: Tensor
    diversity: Tensor


class Sources(NamedTuple):
    """The images that are completed: a batch of stored values [B, C, H, W], and their positions in the split, int64 [B]."""

    batch: Batch
    positions: Tensor


def measure_completions(
    sampler: Sampler, scenario: MaskScenario, sources: Sources, count: int, sampling: Sampling, progress: Progress
) -> CompletionMetrics:
    """Draw `count` completions of each image, conditioned on what a scenario leaves and on the batch's conditions; measure them."""
    parts = []
    images, conditions = sources.batch.images, sources.batch.conditions
    spec, present = sampler.spec, sources.batch.observed
    with progress(f"completed ({scenario.name})", len(images) * count) as advance:
        for start in range(0, len(images), IMAGES_AT_ONCE):
            each = slice(start, start + IMAGES_AT_ONCE)
            names = sampler.spec.condition_names if sampler.prior.spec.conditions else ()
            known = dict(zip(names, conditions[each].T, strict=True)) if names else {}
            observed = scenario.observed(sources.positions[each], images[each].shape) & present[each]
            completions = sampler.complete(images[each], observed, count, known, sampling, advance=advance, first=start)
            expected = sampler.pipeline.fill(images[each], observed, known)
            truth = where_present(spec.to_unit(images[each]), present[each])
            one_pass = fill_missing(expected, truth, observed, spec)
            drawn = spec.to_unit(completions.images.flatten(0, 1)).view(completions.images.shape)
            parts.append(compare_completions(drawn, one_pass, truth, present[each] & ~observed, spec))
    return completion_metrics(scenario, Comparisons(*map(torch.cat, zip(*parts, strict=True))), sampler.spec)


def compare_completions(completions: Tensor, one_pass: Tensor, images: Tensor, judged: Tensor, spec: DataSpec) -> Comparisons:
    """Compare completions [B, K, C, H, W] and reconstructions [B, C, H, W] with images, in unit values, where `judged` is True."""
    count = completions.shape[1]
    truth, missing = (each.repeat_interleave(count, dim=0) for each in (images, judged))
    accuracy = compare(completions.flatten(0, 1), truth, missing, spec).view(len(images), count, -1)
    binary = spec.value_kind == "binary"
    diversity = shape_diversity(completions >= THRESHOLD, judged) if binary else value_diversity(completions, judged)
    return Comparisons(compare(one_pass, images, judged, spec), accuracy, diversity)


def compare(predictions: Tensor, truth: Tensor, judged: Tensor, spec: DataSpec) -> Tensor:
    """IoU (binary data) or PSNR (intensities) of each component, float64 [B, C]; NaN where nothing is judged. Unit values."""
    pixels = judged.flatten(2).sum(2)
    if spec.value_kind == "binary":
        metric = overlap(predictions, truth, judged).iou
    else:
        squares = (predictions.double() - truth.double()).square() * judged
        metric = peak_signal_to_noise(squares.flatten(2).sum(2) / pixels.clamp_min(1))
    return metric.masked_fill(pixels == 0, torch.nan)


def shape_diversity(shapes: Tensor, judged: Tensor) -> Tensor:
    """Mean over pairs of 1 - IoU, float64 [B, C], of masks bool [B, K, C, H, W] where `judged` [B, C, H, W]; NaN without a pair."""
    inside = (shapes & judged[:, None]).transpose(1, 2).flatten(3).float()
    both = inside @ inside.transpose(2, 3)
    sizes = both.diagonal(dim1=2, dim2=3)
    either = sizes[..., :, None] + sizes[..., None, :] - both
    distance = torch.where(either > 0, 1 - both.double() / either.clamp_min(1), 0.0)
    pairs = torch.tensor(list(itertools.combinations(range(shapes.shape[1]), 2)), dtype=torch.int64).view(-1, 2)
    return distance[:, :, pairs[:, 0], pairs[:, 1]].mean(dim=2).masked_fill(~judged.flatten(2).any(2), torch.nan)


def value_diversity(values: Tensor, judged: Tensor) -> Tensor:
    """Mean over pairs of the mean squared difference, float64 [B, C], of unit values [B, K, C, H, W]; see `shape_diversity`.

    The mean squared difference over all pairs of numbers is twice their unbiased variance.
    """
    spread = 2 * values.double().var(dim=1) if values.shape[1] > 1 else torch.full(judged.shape, torch.nan).double()
    pixels = judged.flatten(2).sum(2)
    return ((spread * judged).flatten(2).sum(2) / pixels).masked_fill(pixels == 0, torch.nan)


def completion_metrics(scenario: MaskScenario, comparisons: Comparisons, spec: DataSpec) -> CompletionMetrics:
    """Averages over images, by component name."""
    each = comparisons.completions
    best = each.nanmean(dim=2, keepdim=True).nan_to_num(0).argmax(dim=1, keepdim=True)
    best_of_k = each.take_along_dim(best, dim=1)[:, 0]
    kept = tuple(spec.components[position] for position in scenario.keep)
    return CompletionMetrics(
        name=scenario.name,
        keep=kept,
        missing=tuple(name for name in spec.components if name not in kept),
        mask_kind=scenario.mask_kind,
        images=len(each),
        samples=each.shape[1],
        metric="iou" if spec.value_kind == "binary" else "psnr",
        one_pass=score(comparisons.one_pass, spec),
        most_likely=score(each[:, 0], spec),
        mean=score(each.mean(dim=1), spec),
        best_per_component=score(each.amax(dim=1), spec),
        best_of_k=score(best_of_k, spec),
        diversity=score(comparisons.diversity, spec) if each.shape[1] > 1 else None,
    )


def score(values: Tensor, spec: DataSpec) -> Score:
    """The mean over images of values [B, C]; components that are NaN in all of them are left out."""
    means = dict(zip(spec.components, values.nanmean(dim=0).tolist(), strict=True))
    components = {name: mean for name, mean in means.items() if mean == mean}
    return Score(components, sum(components.values()) / max(len(components), 1))
