"""How good several answers to one hole are: is the truth among them, and how much do they differ.

One pass of a tokenizer gives one answer, the expected one. A prior that sees parts of images gives as many as are asked for, so the
best of K is what someone would get who can choose, and their diversity is what there is to choose from. All is measured on what
was missing.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.evaluation.autoencoder import HoleKind, MaskScenario
from vqkit.evaluation.metrics import overlap, peak_signal_to_noise
from vqkit.inference.postprocess import settle
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, DataSpec
from vqkit.interfaces.priors import Sampling

IMAGES_AT_ONCE = 16
"""Images whose completions are held in memory together."""


@dataclass(frozen=True)
class Score:
    """A figure of each component that was missing, averaged over images, and the mean over these components."""

    components: dict[str, float]
    mean: float


@dataclass(frozen=True)
class CompletionFigures:
    """What `samples` = K completions of each of `images` partly seen images are worth, on what was missing.

    `figure` of an answer against the truth: iou for shapes, psnr (decibels) for intensities. `one_pass`: the tokenizer's own
    answer; `likeliest`: the completion that the prior finds most probable; `mean` over all K; `best`: each component's own best of
    K; `best_together`: the completion with the best mean over the missing components. `diversity`: mean over all pairs of
    completions of an image of 1 - IoU between them (shapes) or of the mean squared difference (intensities); None for K = 1.
    """

    name: str
    keep: tuple[str, ...]
    missing: tuple[str, ...]
    holes: HoleKind | None
    images: int
    samples: int
    figure: str
    one_pass: Score
    likeliest: Score
    mean: Score
    best: Score
    best_together: Score
    diversity: Score | None


class Judged(NamedTuple):
    """Some images' answers, judged: float64, NaN where nothing of a component was missing.

    `one_pass` [B, C] and `completions` [B, K, C] against the truth, `diversity` [B, C] among themselves.
    """

    one_pass: Tensor
    completions: Tensor
    diversity: Tensor


def measure_completions(
    sampler: Sampler,
    scenario: MaskScenario,
    given: Batch,
    count: int,
    sampling: Sampling,
    progress: Callable[[str, int], AbstractContextManager[Callable[[float], None]]],
) -> CompletionFigures:
    """`count` completions of each of the images uint8 of `given`, whose first is the first of its split, told its conditions.

    `progress` is given what is done and to how many images, and gives a function to call with how many more are done.
    """
    parts = []
    with progress(f"completed ({scenario.name})", len(given.images) * count) as advance:
        for start in range(0, len(given.images), IMAGES_AT_ONCE):
            images = given.images[start : start + IMAGES_AT_ONCE]
            rows = given.conditions[start : start + IMAGES_AT_ONCE]
            conditions = dict(zip(sampler.spec.condition_names, rows.T, strict=True)) if sampler.prior.spec.conditions else {}
            size, components, height, width = images.shape
            observed = scenario.observed(start, (size, components, height, width))
            completions = sampler.complete(images, observed, count, conditions, sampling, advance=advance, first=start)
            one_pass = settle(sampler.pipeline.fill(images, observed, conditions), images, observed, sampler.spec)
            parts.append(judge(completions.images, one_pass, images, observed, sampler.spec))
    return figures(scenario, Judged(*map(torch.cat, zip(*parts, strict=True))), sampler.spec)


def judge(completions: Tensor, one_pass: Tensor, images: Tensor, observed: Tensor, spec: DataSpec) -> Judged:
    """Compare completions [B, K, C, H, W] and one-pass answers [B, C, H, W] with images, all uint8, where `observed` is False."""
    count = completions.shape[1]
    truth, judged = (each.repeat_interleave(count, dim=0) for each in (images, ~observed))
    against_truth = compare(completions.flatten(0, 1), truth, judged, spec).view(len(images), count, -1)
    binary = spec.value_kind == "binary"
    differences = shape_diversity(completions >= 128, ~observed) if binary else value_diversity(completions, ~observed)
    return Judged(compare(one_pass, images, ~observed, spec), against_truth, differences)


def compare(answers: Tensor, truth: Tensor, judged: Tensor, spec: DataSpec) -> Tensor:
    """IoU (shapes) or PSNR (intensities) of each component, float64 [B, C]; NaN where nothing is judged. Images are uint8."""
    pixels = judged.flatten(2).sum(2)
    if spec.value_kind == "binary":
        figure = overlap(answers / 255, truth / 255, judged).iou
    else:
        squares = ((answers.double() - truth.double()) / 255).square() * judged
        figure = peak_signal_to_noise(squares.flatten(2).sum(2) / pixels.clamp_min(1))
    return figure.masked_fill(pixels == 0, torch.nan)


def shape_diversity(shapes: Tensor, judged: Tensor) -> Tensor:
    """Mean over pairs of 1 - IoU, float64 [B, C], of shapes bool [B, K, C, H, W] where `judged` [B, C, H, W]; NaN for no pair."""
    inside = (shapes & judged[:, None]).transpose(1, 2).flatten(3).float()
    both = inside @ inside.transpose(2, 3)
    sizes = both.diagonal(dim1=2, dim2=3)
    either = sizes[..., :, None] + sizes[..., None, :] - both
    apart = torch.where(either > 0, 1 - both.double() / either.clamp_min(1), 0.0)
    pairs = torch.tensor(list(itertools.combinations(range(shapes.shape[1]), 2)), dtype=torch.int64).view(-1, 2)
    return apart[:, :, pairs[:, 0], pairs[:, 1]].mean(dim=2).masked_fill(~judged.flatten(2).any(2), torch.nan)


def value_diversity(values: Tensor, judged: Tensor) -> Tensor:
    """Mean over pairs of the mean squared difference, float64 [B, C], of uint8 [B, K, C, H, W]; see `shape_diversity`.

    The mean squared difference of all pairs of numbers is twice their variance (divided by one less than their number).
    """
    spread = 2 * (values.double() / 255).var(dim=1) if values.shape[1] > 1 else torch.full(judged.shape, torch.nan).double()
    pixels = judged.flatten(2).sum(2)
    return ((spread * judged).flatten(2).sum(2) / pixels).masked_fill(pixels == 0, torch.nan)


def figures(scenario: MaskScenario, judged: Judged, spec: DataSpec) -> CompletionFigures:
    """Averages over images, with the names of components."""
    each = judged.completions
    together = each.nanmean(dim=2, keepdim=True).nan_to_num(0).argmax(dim=1, keepdim=True)
    best_together = each.take_along_dim(together, dim=1)[:, 0]
    kept = tuple(spec.components[position] for position in scenario.keep)
    return CompletionFigures(
        name=scenario.name,
        keep=kept,
        missing=tuple(name for name in spec.components if name not in kept),
        holes=scenario.holes,
        images=len(each),
        samples=each.shape[1],
        figure="iou" if spec.value_kind == "binary" else "psnr",
        one_pass=score(judged.one_pass, spec),
        likeliest=score(each[:, 0], spec),
        mean=score(each.mean(dim=1), spec),
        best=score(each.amax(dim=1), spec),
        best_together=score(best_together, spec),
        diversity=score(judged.diversity, spec) if each.shape[1] > 1 else None,
    )


def score(values: Tensor, spec: DataSpec) -> Score:
    """The mean over images of values [B, C]; components that are NaN in all of them are left out."""
    means = dict(zip(spec.components, values.nanmean(dim=0).tolist(), strict=True))
    components = {name: mean for name, mean in means.items() if mean == mean}
    return Score(components, sum(components.values()) / max(len(components), 1))
