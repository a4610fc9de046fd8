"""The metrics of single components in rows, one for each run, scenario and component (`components.csv`), and a table of them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vqkit.evaluation.autoencoder import Evaluation
from vqkit.evaluation.scenario_metrics import MissingPartMetrics
from vqkit.report.compared_runs import ComparedRun
from vqkit.report.results import floor_label
from vqkit.report.summary import Column, ComparisonTable, SeedStatistics, best_model, seed_statistics

_Who = tuple[str, int | None, str, Literal["model", "floor"]]
"""The first four fields of a row."""
_DIGITS = 4
"""Significant digits of the largest error in a column of the table."""


class ComponentResult(NamedTuple):
    """One row: errors of one component in one scenario, on what was missing (full input: on everything).

    `kind`: model, or floor: a simple predictor on the same images, without a run. `images` in which anything of the component was
    judged; `rmse` and `mae` in stored values, whose name is `unit`: of intensities; `iou` and `dice` of binary components. What is
    not defined is None.
    """

    model: str
    seed: int | None
    run: str
    kind: Literal["model", "floor"]
    mask_kind: str
    scenario: str
    component: str
    images: int
    unit: str
    rmse: float | None
    mae: float | None
    relative_mse: float | None
    mse: float
    psnr_db: float
    pooled_psnr_db: float
    ssim: float
    iou: float | None
    dice: float | None


def component_results_of(run: ComparedRun, evaluation: Evaluation, out: Path) -> list[ComponentResult]:
    """The rows of a run that was measured; its path is written relative to `out`. The mask kind of full input is none."""
    who: _Who = (run.label, run.seed, os.path.relpath(run.place, out), "model")
    full = _rows(who, "none", evaluation.full.name, evaluation.full)
    return [*full, *(row for part in evaluation.parts for row in _rows(who, part.mask_kind or "components", part.name, part))]


def floor_components_of(evaluation: Evaluation) -> list[ComponentResult]:
    """The rows of the simple predictors beside a model, which are the same beside every other one."""
    return [
        row
        for part in evaluation.parts
        for floor in part.floors
        for row in _rows((floor_label(floor.name), None, "", "floor"), part.mask_kind or "components", part.name, floor)
    ]


def _rows(who: _Who, mask_kind: str, scenario: str, errors: MissingPartMetrics) -> list[ComponentResult]:
    """A row for each component of a scenario."""
    return [
        ComponentResult(
            *who,
            mask_kind=mask_kind,
            scenario=scenario,
            component=name,
            images=found.images,
            unit=found.unit,
            rmse=found.rmse,
            mae=found.mae,
            relative_mse=found.relative_error,
            mse=found.mse,
            psnr_db=found.psnr,
            pooled_psnr_db=found.pooled_psnr,
            ssim=found.ssim,
            iou=errors.iou.get(name),
            dice=errors.dice.get(name),
        )
        for name, found in errors.components.items()
    ]


def error_table(title: str, results: Sequence[ComponentResult], mask_kind: str) -> ComparisonTable:
    """RMSE in stored values of every model and floor, with a column for each intensity: the mean over scenarios of a mask kind."""
    chosen = [row for row in results if row.mask_kind == mask_kind and row.rmse is not None]
    models, floors = (list(dict.fromkeys(row.model for row in chosen if row.kind == kind)) for kind in ("model", "floor"))
    judged = {row.component for row in chosen}
    units = {row.component: row.unit for row in results if row.component in judged}  # full input comes first, in the data's order
    columns, best = [], []
    cells: dict[str, list[SeedStatistics | None]] = {name: [] for name in (*models, *floors)}
    for component, unit in units.items():
        found = {name: seed_statistics(_by_seed(chosen, name, component)) for name in cells}
        largest = max((cell.mean for cell in found.values() if cell is not None), default=0.0)
        column = Column(component, f"{component}, {unit}" if unit else component, _decimals(largest), "lower")
        columns.append(column)
        best.append(best_model(column, {model: found[model] for model in models}))
        for name in cells:
            cells[name].append(found[name])
    of_models, of_floors = ({name: cells[name] for name in names} for names in (models, floors))
    return ComparisonTable(title, tuple(columns), of_models, of_floors, best, {}, [])


def _by_seed(rows: Sequence[ComponentResult], model: str, component: str) -> list[float]:
    """The RMSE of each of a model's runs, averaged over scenarios."""
    seeds: dict[int | None, list[float]] = {}
    for row in rows:
        if (row.model, row.component) == (model, component) and row.rmse is not None:
            seeds.setdefault(row.seed, []).append(row.rmse)
    return [sum(values) / len(values) for values in seeds.values()]


def _decimals(largest: float) -> int:
    """Decimals that show so many significant digits of the largest value of a column."""
    return max(0, _DIGITS - 1 - math.floor(math.log10(largest))) if largest > 0 else 0
