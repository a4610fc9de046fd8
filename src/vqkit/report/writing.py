"""Write a report: evaluate every run, collect its images, and write the page, the table and the figures.

OUT/index.html        everything, in one self-contained file
    results.csv       a row for each run (and each floor: a simple predictor) and scenario
    components.csv    a row for each run or floor, scenario and component
    figures/          the page's figures as PNG and PDF
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from vqkit.config import RunConfig, dump_yaml, read_config_file
from vqkit.core.atomic import write_atomically, write_text
from vqkit.data.opening import typed_as
from vqkit.errors import VQKitError
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.image_io.pictures import rows_figure, save_picture
from vqkit.report.compared_runs import ComparedRun, read_config
from vqkit.report.component_results import ComponentResult, component_results_of, error_table, floor_components_of
from vqkit.report.curves import comparison, loss_curves, validation_curves
from vqkit.report.history import Row, read_history, training_seconds
from vqkit.report.measuring import EvaluationProtocol, measure
from vqkit.report.page import About, EvaluatedData, Plot, TablesOfPage, render
from vqkit.report.pictures import PictureCollector
from vqkit.report.results import Result, failed_result, floor_results_of, results_of, to_csv
from vqkit.report.summary import COST, MISSING_PARTS, MODEL_METRICS, WHOLE_IMAGES, ComparisonTable, table
from vqkit.storage.checkpoints import Loaded, load_model
from vqkit.storage.runs import CONFIG_FILE, checkpoints

_DPI = 110


class Report(NamedTuple):
    """What was written: the page, the rows of `results.csv`, and the runs that failed."""

    page: Path
    results: list[Result]
    failed: list[ComparedRun]


def write_report(
    runs: Sequence[ComparedRun],
    out: Path,
    about: About,
    protocol: EvaluationProtocol,
    device: torch.device = torch.device("cpu"),
    progress: Progress = no_progress,
) -> Report:
    """Evaluate the runs that did not fail, and write everything below `out`. A run that cannot be measured is listed as failed."""
    collected = _ReportContents(out)
    for run in runs:
        if run.failure is None:
            run = run._replace(failure=_measure_run(collected, run, protocol, device, progress))
        if run.failure is not None:
            collected.results.append(failed_result(run, out))
            collected.failed.append(run)
    results = collected.results + collected.floors
    components = collected.components + collected.floor_components
    kinds = dict.fromkeys(result.mask_kind for result in results if result.mask_kind is not None)
    shapes = collected.data is not None and collected.data.spec.value_kind == "binary"
    compared = "hole_iou" if shapes else "hole_pooled_psnr_db"
    quality = [table(f"{kind} missing", results, MISSING_PARTS, kind, compared) for kind in kinds]
    others = [
        table("whole images", results, WHOLE_IMAGES),
        table("likelihood and codes", results, MODEL_METRICS),
        table("cost", results, COST),
    ]
    own_units = [error_table(f"RMSE, {_whose(kind)}", components, kind) for kind in ("none", *kinds)]
    plots = _save_figures(collected, quality, out / "figures")
    write_text(out / "results.csv", to_csv(results))
    write_text(out / "components.csv", to_csv(components, ComponentResult._fields))
    page = out / "index.html"
    tables = TablesOfPage(quality, own_units, others, list(collected.notes))
    write_text(
        page, render(about, collected.data, tables, results, plots, collected.pictures, collected.settings, collected.failed)
    )
    return Report(page, results, collected.failed)


def _whose(mask_kind: str) -> str:
    return "whole images" if mask_kind == "none" else f"{mask_kind} missing"


class _ReportContents:
    """Everything collected from the runs.

    `histories`: recorded metrics by model and seed; `settings` of models, as YAML; `notes` on their metrics, as keys.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.results: list[Result] = []
        self.components: list[ComponentResult] = []
        self.floors: list[Result] = []
        self.floor_components: list[ComponentResult] = []
        self.failed: list[ComparedRun] = []
        self.histories: dict[str, dict[int, list[Row]]] = {}
        self.pictures = PictureCollector()
        self.data: EvaluatedData | None = None
        self.settings: dict[str, str] = {}
        self.notes: dict[str, None] = {}

    def add(
        self,
        run: ComparedRun,
        loaded: Loaded,
        config: RunConfig,
        protocol: EvaluationProtocol,
        device: torch.device,
        progress: Progress,
    ) -> None:
        """Add a run; nothing is kept of one that fails."""
        measurement = measure(loaded, run.directory, protocol, device, progress)
        if run.label not in self.histories:
            self.pictures.add(run.label, loaded, measurement.evaluation, device)
            self.settings[run.label] = dump_yaml(config.model)
        rows = read_history(run.directory)
        last = checkpoints(run.directory)[-1] if run.file is None else run.place
        steps = int(last.name.removeprefix("step-"))
        trained = [row for row in rows if row.get("step", 0) <= steps]
        seconds = training_seconds(trained, config.training.batch_size), _pretraining_seconds(config)
        if not self.histories:  # the floors of the other runs are the same
            self.floors = floor_results_of(measurement.evaluation)
            self.floor_components = floor_components_of(measurement.evaluation)
        self.results += results_of(run, measurement, steps, seconds, self.out)
        self.components += component_results_of(run, measurement.evaluation, self.out)
        self.notes.update(dict.fromkeys(f"{run.label}: {note}" for note in measurement.evaluation.notes))
        self.histories.setdefault(run.label, {})[run.seed] = rows
        place = typed_as(config.data.model_dump())
        self.data = self.data or EvaluatedData(loaded.model.spec, place, measurement.evaluation.images)


def _measure_run(
    collected: _ReportContents, run: ComparedRun, protocol: EvaluationProtocol, device: torch.device, progress: Progress
) -> str | None:
    """Measure a run; returns why that failed, or None. An error in one model must not keep the others from the page."""
    try:
        collected.add(run, load_model(run.place, device), read_config(run.directory), protocol, device, progress)
    except VQKitError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a third-party model may raise anything
        warnings.warn(f"{run.label}, seed {run.seed}, cannot be measured: {type(error).__name__}: {error}", stacklevel=3)
        return f"{type(error).__name__}: {error}"
    return None


def _pretraining_seconds(config: RunConfig) -> float | None:
    """Training time of the pretraining run that the encoder comes from; None without one, or where it no longer exists."""
    run = None if config.encoder.start_from is None else Path(config.encoder.start_from).parent.parent.parent
    if run is None or not (run / CONFIG_FILE).is_file():
        return None
    return training_seconds(read_history(run), read_config_file(run / CONFIG_FILE)["training"]["batch_size"])


def _save_figures(collected: _ReportContents, quality: Sequence[ComparisonTable], folder: Path) -> list[Plot]:
    """Write all figures as PNG and PDF; returns those that the page embeds."""
    plots = []
    if collected.histories:
        figures = {f"{column.field.removeprefix('hole_')}": comparison(quality, column) for column in MISSING_PARTS[1:3]}
        figures |= {"validation": validation_curves(collected.histories), "losses": loss_curves(collected.histories)}
        for name, figure in figures.items():
            for suffix in ("png", "pdf"):
                with write_atomically(folder / f"{name}.{suffix}") as temporary:
                    figure.savefig(temporary, dpi=_DPI)
            plots.append(Plot(name, (folder / f"{name}.png").read_bytes()))
    pictures = collected.pictures
    shown = {f"filled_{gallery.mask_kind}": gallery.rows for gallery in pictures.galleries} | {"samples": pictures.samples}
    for name, rows in shown.items():
        sheets = {name: rows_figure(list(pictures.composites(rows).items()))} if rows else {}
        components = pictures.components(rows)
        sheets |= {f"{name}_components": components} if components else {}
        for title, sheet in sheets.items():
            for suffix in ("png", "pdf"):
                save_picture(sheet, folder / f"{title}.{suffix}")
    return plots
