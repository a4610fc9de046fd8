"""The metrics of a report in rows, one for each run and scenario: `results.csv`."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vqkit.evaluation.autoencoder import Evaluation
from vqkit.evaluation.scenario_metrics import MissingPartMetrics, ScenarioMetrics
from vqkit.report.compared_runs import ComparedRun
from vqkit.report.measuring import Measurement


class Result(NamedTuple):
    """One row. Fields that are None are not defined for the model; a run that failed has one row with its `failure`.

    `kind`: model, or floor: a simple predictor on the same images, which has no run and only errors on what was missing.
    `hole_*` are errors on what was missing in `scenario`, which is of `mask_kind`, in the `scenario_images` that hold what it
    keeps; `whole_*` on everything, from full input; `*_psnr_db` is averaged over images, `*_pooled_psnr_db` that of the mean error;
    `code_usage_share`: share of the codes that occur in the test images, averaged over levels; `code_bits_per_image`: size of an
    image's codes as fixed-length integers.
    """

    model: str
    seed: int | None
    run: str
    kind: Literal["model", "floor"] = "model"
    failure: str | None = None
    mask_kind: str | None = None
    scenario: str | None = None
    test_images: int | None = None
    scenario_images: int | None = None
    hole_psnr_db: float | None = None
    hole_pooled_psnr_db: float | None = None
    hole_ssim: float | None = None
    hole_mse: float | None = None
    hole_iou: float | None = None
    whole_psnr_db: float | None = None
    whole_pooled_psnr_db: float | None = None
    whole_ssim: float | None = None
    whole_mse: float | None = None
    whole_iou: float | None = None
    parameters: int | None = None
    training_steps: int | None = None
    training_seconds: float | None = None
    pretraining_seconds: float | None = None
    inference_images_per_second: float | None = None
    code_usage_share: float | None = None
    code_bits_per_image: float | None = None
    likelihood: str | None = None
    elbo_bits_per_dimension: float | None = None
    bound_bits_per_dimension: float | None = None
    bound_draws: int | None = None


def results_of(
    run: ComparedRun, measurement: Measurement, steps: int, seconds: tuple[float | None, float | None], out: Path
) -> list[Result]:
    """The rows of a run that was measured; its path is written relative to `out`.

    `steps` of its training, and `seconds` of its training and of the pretraining of its encoder.
    """
    evaluation, bounds = measurement.evaluation, measurement.bounds
    full, levels = evaluation.full, evaluation.levels
    shared = Result(
        model=run.label,
        seed=run.seed,
        run=os.path.relpath(run.place, out),
        test_images=evaluation.images,
        whole_psnr_db=full.psnr,
        whole_pooled_psnr_db=full.pooled_psnr,
        whole_ssim=full.ssim,
        whole_mse=full.mse,
        whole_iou=full.mean_iou,
        parameters=measurement.parameters,
        training_steps=steps,
        training_seconds=seconds[0],
        pretraining_seconds=seconds[1],
        inference_images_per_second=evaluation.images_per_second,
        code_usage_share=sum(level.usage for level in levels) / len(levels) if levels else None,
        code_bits_per_image=evaluation.bits.uniform_bits_per_image if evaluation.bits else None,
    )
    if bounds is not None:
        shared = shared._replace(
            likelihood=bounds.likelihood,
            elbo_bits_per_dimension=bounds.elbo_bits,
            bound_bits_per_dimension=bounds.bits,
            bound_draws=bounds.samples,
        )
    return [_of_scenario(shared, part, part) for part in evaluation.parts]


def floor_results_of(evaluation: Evaluation) -> list[Result]:
    """The rows of the simple predictors beside a model, which are the same beside every other one."""
    rows = []
    for part in evaluation.parts:
        for floor in part.floors:
            shared = Result(floor_label(floor.name), None, "", "floor", test_images=evaluation.images)
            rows.append(_of_scenario(shared, part, floor))
    return rows


def floor_label(name: str) -> str:
    """What a simple predictor is called beside models."""
    return f"floor: {name}"


def floor_name(label: str) -> str:
    """The inverse of `floor_label`."""
    return label.removeprefix(floor_label(""))


def _of_scenario(shared: Result, scenario: ScenarioMetrics, errors: MissingPartMetrics) -> Result:
    """A row of a scenario: the `errors` in it of a model or of a simple predictor."""
    return shared._replace(
        mask_kind=scenario.mask_kind or "components",
        scenario=scenario.name,
        scenario_images=errors.images,
        hole_psnr_db=errors.psnr,
        hole_pooled_psnr_db=errors.pooled_psnr,
        hole_ssim=errors.ssim,
        hole_mse=errors.mse,
        hole_iou=errors.mean_iou,
    )


def failed_result(run: ComparedRun, out: Path) -> Result:
    """The row of a run that failed."""
    return Result(run.label, run.seed, os.path.relpath(run.place, out), failure=run.failure)


def to_csv(results: Sequence[tuple[Any, ...]], fields: Sequence[str] = Result._fields) -> str:
    """All rows, each with a value for each of the `fields`, as CSV: numbers in full precision, undefined values empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    writer.writerows(["" if value is None else value for value in result] for result in results)
    return text.getvalue()


def values_by_seed(results: Sequence[Result], model: str, field: str, mask_kind: str | None = None) -> list[float]:
    """A metric of each of a model's runs, averaged over the scenarios of a mask kind (over all rows, by default).

    Runs in which it is missing or not a number are left out.
    """
    seeds: dict[int | None, list[float]] = {}
    for result in results:
        value = getattr(result, field)
        if result.model == model and mask_kind in (None, result.mask_kind) and isinstance(value, (int, float)):
            seeds.setdefault(result.seed, []).append(float(value))
    means = [sum(values) / len(values) for values in seeds.values()]
    return [mean for mean in means if not math.isnan(mean)]
