"""The metrics of single components in rows, one for each run, scenario and component (`components.csv`), and a table of them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vqkit.evaluation.autoencoder import Evaluation
from vqkit.report.compared_runs import ComparedRun
from vqkit.report.summary import Column, ComparisonTable, SeedStatistics, best_model, seed_statistics

_DIGITS = 4
"""Significant digits of the largest error in a column of the table."""


class ComponentResult(NamedTuple):
    """One row: errors of one component in one scenario, on what was missing (full input: on everything).

    `images` in which anything of it was judged; `rmse` and `mae` in stored values, whose name is `unit`: of intensities; `iou` and
    `dice` of binary components. What is not defined is None.
    """

    model: str
    seed: int
    run: str
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
    rows = []
    for part in (evaluation.full, *evaluation.parts):
        kind = "none" if part is evaluation.full else part.mask_kind or "components"
        for name, found in part.components.items():
            row = ComponentResult(
                model=run.label,
                seed=run.seed,
                run=os.path.relpath(run.directory, out),
                mask_kind=kind,
                scenario=part.name,
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
                iou=part.iou.get(name),
                dice=part.dice.get(name),
            )
            rows.append(row)
    return rows


def error_table(title: str, results: Sequence[ComponentResult], mask_kind: str) -> ComparisonTable:
    """RMSE in stored values of every model, with a column for each intensity: the mean over the scenarios of a mask kind."""
    chosen = [row for row in results if row.mask_kind == mask_kind and row.rmse is not None]
    models = list(dict.fromkeys(row.model for row in chosen))
    judged = {row.component for row in chosen}
    units = {row.component: row.unit for row in results if row.component in judged}  # full input comes first, in the data's order
    columns, best = [], []
    cells: dict[str, list[SeedStatistics | None]] = {model: [] for model in models}
    for component, unit in units.items():
        found = {model: seed_statistics(_by_seed(chosen, model, component)) for model in models}
        largest = max((cell.mean for cell in found.values() if cell is not None), default=0.0)
        column = Column(component, f"{component}, {unit}" if unit else component, _decimals(largest), "lower")
        columns.append(column)
        best.append(best_model(column, found))
        for model in models:
            cells[model].append(found[model])
    return ComparisonTable(title, tuple(columns), cells, best, [])


def _by_seed(rows: Sequence[ComponentResult], model: str, component: str) -> list[float]:
    """The RMSE of each of a model's runs, averaged over scenarios."""
    seeds: dict[int, list[float]] = {}
    for row in rows:
        if (row.model, row.component) == (model, component) and row.rmse is not None:
            seeds.setdefault(row.seed, []).append(row.rmse)
    return [sum(values) / len(values) for values in seeds.values()]


def _decimals(largest: float) -> int:
    """Decimals that show so many significant digits of the largest value of a column."""
    return max(0, _DIGITS - 1 - math.floor(math.log10(largest))) if largest > 0 else 0
