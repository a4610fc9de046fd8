"""How well each score of oddity tells held-out images from images of other data: `vqkit evaluate --against`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from vqkit.config import NamedOptions, merge
from vqkit.data.opening import name_data, open_dataset, resolve_data, without_measured
from vqkit.data.subsets import check_data, choose_split
from vqkit.errors import DataError
from vqkit.evaluation.auroc import auroc
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.usual_images import measure_split, usual_images
from vqkit.inference.oddity_reference import SCORES, OddityReference
from vqkit.inference.pipeline import BATCH_SIZE
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Split


@dataclass(frozen=True)
class ScoreComparison:
    """One of `SCORES`: its AUROC with a standard error, and its means over the held-out and the other images.

    `found`: the share of the other images that score above 95 % of the held-out ones.
    """

    score: str
    auroc: float
    standard_error: float | None
    held_out_mean: float
    other_mean: float
    found: float


@dataclass(frozen=True)
class OtherData:
    """The comparison with the images of one split of other data.

    `images` held-out and `other_images` others, of which nothing is counted that holds no data; `reference_images`: validation
    images by which scores are standardised.
    """

    data: dict[str, Any]
    split: str
    images: int
    other_images: int
    reference_images: int
    scores: tuple[ScoreComparison, ...]


class OtherImages(NamedTuple):
    """Images to compare with: a `split` of other data, by its name, and the data with all settings."""

    data: NamedOptions
    split: str
    images: Split


def open_other(sampler: Sampler, other: str, split: str, limit: int | None = None) -> OtherImages:
    """A split of `other`, a data set's name or path; data of the kind that the prior was trained on with the same settings.

    Raises `DataError` for data that do not exist or that the model cannot take.
    """
    data = _resolve(sampler, other)
    dataset = open_dataset(data)
    check_data(dataset.spec, sampler.spec)
    return OtherImages(data, split, choose_split(dataset, split, limit))


def measure_against(
    sampler: Sampler, held_out: Split, other: OtherImages, batch_size: int = BATCH_SIZE, progress: Progress = no_progress
) -> OtherData:
    """Compare held-out images of the data that a prior was trained on with others.

    Raises as `usual_images` does, and `DataError` for images none of which holds data.
    """
    reference = usual_images(sampler, progress, batch_size)
    usual = _scores(sampler, held_out, "measured (held-out images)", reference, progress, batch_size)
    strange = _scores(sampler, other.images, f"measured ({other.images.spec.name})", reference, progress, batch_size)
    return OtherData(
        data=other.data.model_dump(mode="json"),
        split=other.split,
        images=len(usual["bits"]),
        other_images=len(strange["bits"]),
        reference_images=reference.images,
        scores=tuple(compare(name, usual[name], strange[name]) for name in SCORES),
    )


def compare(score: str, held_out: Tensor, others: Tensor) -> ScoreComparison:
    """Scores float64 [N] of held-out images, and [M] of others."""
    area = auroc(held_out, others)
    found = (others > held_out.quantile(0.95)).double().mean()
    means = float(held_out.mean()), float(others.mean())
    return ScoreComparison(score, area.area, area.standard_error, *means, float(found))


def _resolve(sampler: Sampler, other: str) -> NamedOptions:
    named = name_data(other)
    if sampler.data is None or named["name"] != sampler.data.name:
        return resolve_data(other)
    return resolve_data(NamedOptions(**merge(without_measured(sampler.data).model_dump(), named)))


def _scores(
    sampler: Sampler, split: Split, what: str, reference: OddityReference, progress: Progress, batch_size: int
) -> dict[str, Tensor]:
    """Each of `SCORES` of the images that hold data. Raises `DataError` if none does."""
    scores = reference.scores(measure_split(sampler, split, what, progress, batch_size).signals)
    there = ~scores["bits"].isnan()
    if not bool(there.any()):
        raise DataError(f"None of the {len(split)} images of {split.spec.name} holds data.", "Name other data with --against.")
    return {name: values[there] for name, values in scores.items()}
