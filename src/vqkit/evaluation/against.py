"""How well each score of oddity tells held-out images from images of other data: `vqkit evaluate --against`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vqkit.config import NamedOptions, merge
from vqkit.data.opening import name_data, open_dataset, resolve_data, without_measured
from vqkit.data.subsets import check_data, choose_split
from vqkit.evaluation.auroc import auroc
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.usual_images import measure_split, usual_images
from vqkit.inference.oddity_reference import SCORES, OddityReference
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


def measure_against(
    sampler: Sampler,
    held_out: Split,
    other: str,
    split: str,
    limit: int | None = None,
    batch_size: int = 64,
    progress: Progress = no_progress,
) -> OtherData:
    """Compare held-out images of the data that a prior was trained on with the same split of `other`, a data set's name or path.

    Other data of the same kind are read with the same settings, such as the size. Raises `DataError` for data that the model cannot
    take, and as `usual_images` does.
    """
    settings = _resolve(sampler, other)
    dataset = open_dataset(settings)
    check_data(dataset.spec, sampler.spec)
    others = choose_split(dataset, split, limit)
    reference = usual_images(sampler, progress, batch_size)
    usual = _scores(sampler, held_out, "measured (held-out images)", reference, progress, batch_size)
    strange = _scores(sampler, others, f"measured ({dataset.spec.name})", reference, progress, batch_size)
    return OtherData(
        data=settings.model_dump(mode="json"),
        split=split,
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
    scores = reference.scores(measure_split(sampler, split, what, progress, batch_size).signals)
    return {name: values[~values.isnan()] for name, values in scores.items()}
