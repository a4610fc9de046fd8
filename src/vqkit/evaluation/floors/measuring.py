"""Errors of simple predictors in the scenarios of an evaluation, on the same images, holes and judged pixels as a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.evaluation.error_meter import ErrorMeter
from vqkit.evaluation.floors.linear import Linear, Linear5, neighbourhoods
from vqkit.evaluation.floors.nearest import Nearest, Nearest10, TrainingDistances
from vqkit.evaluation.floors.predictors import Copy, Known, Mean, MeanImage, Predictor, Surrounding
from vqkit.evaluation.floors.smooth import Biharmonic, Harmonic
from vqkit.evaluation.floors.training_sample import TrainingSample, copying_errors, pixel_means
from vqkit.evaluation.held_out import batches_with_positions
from vqkit.evaluation.mask_scenarios import MaskScenario
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.scenario_metrics import FloorMetrics, floor_metrics
from vqkit.evaluation.variance import Variances
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces import DataSpec, Split, where_present


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
    scenarios = images.scenarios
    sample = TrainingSample(training, images.spec, device, progress)
    fitted = _fit(sample, scenarios)
    floors = [[fitted[name] for name in floor_names(scenario, images.spec)] for scenario in scenarios]
    meters = [[ErrorMeter(images.spec, device) for _ in row] for row in floors]
    for positions, batch in batches_with_positions(images.split, images.batch_size, "measured for the floors", progress):
        stored = batch.images.to(device)
        batch = batch.to(device, images.spec)
        present = batch.observed
        for predictor in fitted.values():
            predictor.prepare(batch.images, present)
        for scenario, row, errors in zip(scenarios, floors, meters, strict=True):
            observed = scenario.observed(positions, present.shape).to(device) & present
            judged = scenario.judged(present, observed)
            if not row or not bool(judged.any()):
                continue
            known = Known(torch.where(observed, batch.images, 0), observed, scenario.keep)
            for predictor, meter in zip(row, errors, strict=True):
                expected = _bounded(predictor.predict(known), images.spec)
                final = None
                if images.spec.value_kind != "intensity":
                    final = fill_missing(expected, batch.images, observed, images.spec)
                filled = where_present(torch.where(observed, batch.images, expected), batch.present)
                meter.add(filled, batch.images, judged, final, stored)
    return [
        tuple(
            floor_metrics(
                predictor.name,
                predictor.sources(scenario.keep, images.spec.components),
                meter.result(),
                variances,
                images.spec,
            )
            for predictor, meter in zip(row, errors, strict=True)
        )
        for scenario, row, errors in zip(scenarios, floors, meters, strict=True)
    ]


def floor_names(scenario: MaskScenario, spec: DataSpec) -> tuple[str, ...]:
    """The floors of a scenario, in the order of tables."""
    if scenario.mask_kind is not None:
        return Surrounding.name, Harmonic.name, Biharmonic.name, MeanImage.name, Nearest.name, Nearest10.name
    if len(scenario.keep) == len(spec.components):
        return ()
    linear = () if spec.value_kind == "binary" else (Linear.name, Linear5.name)
    return Mean.name, MeanImage.name, Copy.name, *linear, Nearest.name, Nearest10.name


def _fit(sample: TrainingSample, scenarios: Sequence[MaskScenario]) -> dict[str, Predictor]:
    """The predictors that the scenarios need, by name, fitted to the training images."""
    spec = sample.spec
    needed = {name for scenario in scenarios for name in floor_names(scenario, spec)}
    means, pixels = pixel_means(sample)
    every: list[Predictor] = [Mean(means), MeanImage(pixels), Surrounding(means)]
    if Copy.name in needed:
        every.append(Copy(copying_errors(sample), means))
    if Linear.name in needed:
        patches = neighbourhoods(sample)
        every += [kind(patches, len(spec.components), sample.device) for kind in (Linear, Linear5)]
    if Nearest.name in needed:
        distances = TrainingDistances(sample, means)
        every += [Nearest(distances), Nearest10(distances)]
    if Harmonic.name in needed:
        every += [Harmonic(means, spec.height, spec.width), Biharmonic(means, spec.height, spec.width)]
    return {predictor.name: predictor for predictor in every if predictor.name in needed}


def _bounded(expected: Tensor, spec: DataSpec) -> Tensor:
    """Values within what the training data ever held, as those of a model are; probabilities of shapes from 0 to 1."""
    ends = [(0.0, 1.0) if each.kind == "binary" else each.unit_bounds for each in spec.component_specs]
    low, high = torch.tensor(ends, device=expected.device).T[:, :, None, None]
    return torch.maximum(torch.minimum(expected, high), low)
