"""Errors of simple predictors in the scenarios of an evaluation, on the same images, holes and judged pixels as a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.evaluation.error_meter import ErrorMeter
from vqkit.evaluation.floors.fitting import FittedFloors, floor_names
from vqkit.evaluation.floors.nearest import Nearest, Nearest10
from vqkit.evaluation.floors.predictors import Known
from vqkit.evaluation.held_out import batches_with_positions
from vqkit.evaluation.mask_scenarios import MaskScenario
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.scenario_metrics import FloorMetrics, floor_metrics
from vqkit.evaluation.variance import Variances
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces import Batch, DataSpec, Split, where_present

FITTED_ON_THESE = (
    "Simple predictors are fitted to these very images: the nearest training images, where each would find itself, are left out."
)


def without_nearest(floors: Sequence[FloorMetrics]) -> tuple[FloorMetrics, ...]:
    """The floors of images to which they are fitted: the nearest training image would be the image itself."""
    return tuple(floor for floor in floors if floor.name not in (Nearest.name, Nearest10.name))


class HeldOutImages(NamedTuple):
    """What is measured on: images, what is hidden of them, and how many are read at once. `spec`: the model's."""

    split: Split
    scenarios: Sequence[MaskScenario]
    spec: DataSpec
    batch_size: int = 64


def measure_floors(
    training: Split,
    images: HeldOutImages,
    variances: Variances,
    device: torch.device = torch.device("cpu"),
    progress: Progress = no_progress,
) -> list[tuple[FloorMetrics, ...]]:
    """Fit simple predictors to training images, and measure them on others; `variances`: of the latter, see `VarianceMeter`.

    For each scenario its floors, none where nothing is missing. Every process must call it.
    """
    spec, scenarios = images.spec, images.scenarios
    names = [floor_names(scenario, spec) for scenario in scenarios]
    floors = FittedFloors(training, spec, {name for row in names for name in row}, device, progress)
    meters = [{name: ErrorMeter(spec, device) for name in row} for row in names]
    for positions, batch in batches_with_positions(images.split, images.batch_size, "measured for the floors", progress):
        stored = batch.images.to(device)
        batch = batch.to(device, spec)
        floors.prepare(batch.images, batch.observed)
        for scenario, row in zip(scenarios, meters, strict=True):
            observed = scenario.observed(positions, batch.images.shape).to(device) & batch.observed
            _add(floors, row, batch, stored, observed, scenario)
    return [
        tuple(
            floor_metrics(name, floors.sources(name, scenario.keep, spec.components), meter.result(), variances, spec)
            for name, meter in row.items()
        )
        for scenario, row in zip(scenarios, meters, strict=True)
    ]


def _add(
    floors: FittedFloors, meters: dict[str, ErrorMeter], batch: Batch, stored: Tensor, observed: Tensor, scenario: MaskScenario
) -> None:
    """Add the errors of the predictors of a scenario in a batch of images in unit values, which `stored` are as in files."""
    judged = scenario.judged(batch.observed, observed)
    if not bool(judged.any()):
        return
    known = Known(torch.where(observed, batch.images, 0), observed, scenario.keep)
    for name, meter in meters.items():
        expected, final = floors.complete(name, known), None
        if meter.spec.value_kind != "intensity":
            final = fill_missing(expected, batch.images, observed, meter.spec)
        filled = where_present(torch.where(observed, batch.images, expected), batch.present)
        meter.add(filled, batch.images, judged, final, stored)
