"""A report from runs: measure each, collect its pictures, and write the page, the table and the figures.

OUT/index.html        everything, in one file that needs no other
    results.csv       a row for each run and each way of hiding a part
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
from vqkit.report.curves import comparison, loss_curves, validation_curves
from vqkit.report.history import Row, read_history, training_seconds
from vqkit.report.measuring import EvaluationProtocol, measure
from vqkit.report.page import About, Data, Plot, render
from vqkit.report.pictures import Pictures
from vqkit.report.results import Result, failed_result, results_of, to_csv
from vqkit.report.subjects import Subject, read_config
from vqkit.report.summary import COST, INSIDE, QUALITY, WHOLE, Table, table
from vqkit.storage.checkpoints import Loaded, load_model
from vqkit.storage.runs import CONFIG_FILE, checkpoints

_DOTS_AN_INCH = 110


class Report(NamedTuple):
    """What was written: the page, the rows of `results.csv`, and the runs that failed."""

    page: Path
    results: list[Result]
    failed: list[Subject]


def write_report(
    subjects: Sequence[Subject],
    out: Path,
    about: About,
    protocol: EvaluationProtocol,
    device: torch.device = torch.device("cpu"),
    progress: Progress = no_progress,
) -> Report:
    """Measure the runs that did not fail and write everything below `out`. One that cannot be measured is shown as failed."""
    collected = _Collected(out)
    for subject in subjects:
        if subject.failure is None:
            subject = subject._replace(failure=_take_in(collected, subject, protocol, device, progress))
        if subject.failure is not None:
            collected.results.append(failed_result(subject, out))
            collected.failed.append(subject)
    results = collected.results
    kinds = dict.fromkeys(result.mask_kind for result in results if result.mask_kind is not None)
    quality = [table(f"{kind} missing", results, QUALITY, kind) for kind in kinds]
    others = [table("whole images", results, WHOLE), table("likelihood and codes", results, INSIDE), table("cost", results, COST)]
    plots = _save_figures(collected, quality, out / "figures")
    write_text(out / "results.csv", to_csv(results))
    page = out / "index.html"
    write_text(
        page,
        render(about, collected.data, (quality, others), results, plots, collected.pictures, collected.settings, collected.failed),
    )
    return Report(page, results, collected.failed)


class _Collected:
    """What was gathered of the runs so far. `histories`: what each recorded, by model and seed; `settings` of models, as YAML."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.results: list[Result] = []
        self.failed: list[Subject] = []
        self.histories: dict[str, dict[int, list[Row]]] = {}
        self.pictures = Pictures()
        self.data: Data | None = None
        self.settings: dict[str, str] = {}

    def add(
        self,
        subject: Subject,
        loaded: Loaded,
        config: RunConfig,
        protocol: EvaluationProtocol,
        device: torch.device,
        progress: Progress,
    ) -> None:
        """Take in a run; nothing is kept of one that fails."""
        measurement = measure(loaded, subject.run, protocol, device, progress)
        if subject.label not in self.histories:
            self.pictures.add(subject.label, loaded, device)
            self.settings[subject.label] = dump_yaml(config.model)
        rows = read_history(subject.run)
        steps = int(checkpoints(subject.run)[-1].name.removeprefix("step-"))
        seconds = training_seconds(rows, config.training.batch_size), _pretraining_seconds(config)
        self.results += results_of(subject, measurement, steps, seconds, self.out)
        self.histories.setdefault(subject.label, {})[subject.seed] = rows
        place = typed_as(config.data.model_dump())
        self.data = self.data or Data(loaded.model.spec, place, measurement.evaluation.images)


def _take_in(
    collected: _Collected, subject: Subject, protocol: EvaluationProtocol, device: torch.device, progress: Progress
) -> str | None:
    """Measure a run; returns why that was not possible. A model that breaks must not keep the others from the page."""
    try:
        collected.add(subject, load_model(subject.run, device), read_config(subject.run), protocol, device, progress)
    except VQKitError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever a model of somebody else's raises, it is that model's row alone
        warnings.warn(f"{subject.label}, seed {subject.seed}, cannot be measured: {type(error).__name__}: {error}", stacklevel=3)
        return f"{type(error).__name__}: {error}"
    return None


def _pretraining_seconds(config: RunConfig) -> float | None:
    """What the run took in which the encoder learned that this one started from; None without one, and where it is gone."""
    run = None if config.encoder.start_from is None else Path(config.encoder.start_from).parent.parent.parent
    if run is None or not (run / CONFIG_FILE).is_file():
        return None
    return training_seconds(read_history(run), read_config_file(run / CONFIG_FILE)["training"]["batch_size"])


def _save_figures(collected: _Collected, quality: Sequence[Table], folder: Path) -> list[Plot]:
    """Write all figures as PNG and PDF; returns those that the page shows as one picture each."""
    plots = []
    if collected.histories:
        figures = {f"{column.field.removeprefix('hole_')}": comparison(quality, column) for column in QUALITY[:2]}
        figures |= {"validation": validation_curves(collected.histories), "losses": loss_curves(collected.histories)}
        for name, figure in figures.items():
            for suffix in ("png", "pdf"):
                with write_atomically(folder / f"{name}.{suffix}") as temporary:
                    figure.savefig(temporary, dpi=_DOTS_AN_INCH)
            plots.append(Plot(name, (folder / f"{name}.png").read_bytes()))
    sheets = {f"filled_{gallery.mask_kind}": gallery.rows for gallery in collected.pictures.galleries}
    sheets |= {"samples": collected.pictures.samples}
    for name, rows in sheets.items():
        if rows:
            sheet = rows_figure(list(rows.items()))
            for suffix in ("png", "pdf"):
                save_picture(sheet, folder / f"{name}.{suffix}")
    return plots
