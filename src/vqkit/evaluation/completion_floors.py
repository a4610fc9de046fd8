"""Simple predictors on the images that a prior completes, in the scenarios in which it is measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vqkit.data.subsets import Subset
from vqkit.evaluation.completion_quality import CompletionMetrics, Score
from vqkit.evaluation.floors import HeldOutImages, kept_floors
from vqkit.evaluation.mask_scenarios import MaskScenario
from vqkit.evaluation.progress import Progress
from vqkit.evaluation.scenario_metrics import FloorMetrics
from vqkit.evaluation.variance import Variances
from vqkit.evaluation.verdicts import best_of, compares_shapes
from vqkit.interfaces import DataSpec, Split


def completion_floors(
    checkpoint: Path,
    data: dict[str, Any],
    training: Split,
    completed: Subset,
    scenarios: Sequence[MaskScenario],
    spec: DataSpec,
    device: torch.device,
    progress: Progress,
) -> dict[str, tuple[FloorMetrics, ...]]:
    """The floors of each scenario by its name, on the images that are `completed`; see `kept_floors`.

    Their errors are not compared with the variance of the images.
    """
    unknown = Variances(math.nan, (math.nan,) * len(spec.components), (None,) * len(spec.components))
    images = HeldOutImages(completed, scenarios, spec)
    floors = kept_floors(checkpoint, data, training, images, unknown, device, progress)
    return {scenario.name: row for scenario, row in zip(scenarios, floors, strict=True)}


def floor_score(floor: FloorMetrics | None, metrics: Mapping[str, str]) -> Score:
    """The errors of a simple predictor as those of completions: the metric (iou or psnr) of each component, and their mean.

    Nothing where there is none.
    """
    if floor is None:
        return Score({}, None)
    figures = {name: floor.iou[name] if metrics[name] == "iou" else found.psnr for name, found in floor.components.items()}
    alike = len(set(metrics.values())) == 1
    pooled = None if compares_shapes(floor) else floor.pooled_psnr
    return Score(figures, sum(figures.values()) / len(figures) if alike and figures else None, pooled)


def below_floors_in_one_pass(
    completions: Sequence[CompletionMetrics], floors: Mapping[str, Sequence[FloorMetrics]]
) -> Iterator[str]:
    """A sentence for each scenario in which a simple predictor fills in better than one pass of the tokenizer."""
    for each in completions:
        floor = best_of(floors.get(each.name, ()))
        if floor is None:
            continue
        shapes = compares_shapes(floor)
        best, own = (floor.mean_iou, each.one_pass.mean) if shapes else (floor.pooled_psnr, each.one_pass.pooled_psnr)
        if best is not None and own is not None and best > own:
            theirs, ours = (f"IoU {value:.4f}" if shapes else f"{value:.2f} dB" for value in (best, own))
            yield f"{each.name}: {floor.name} fills in better than one pass of the tokenizer ({theirs}, one pass {ours})."
