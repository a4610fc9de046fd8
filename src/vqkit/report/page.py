"""The page of a report: one HTML file that needs no other, readable on a phone, on paper, and in the dark."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
import torch

import vqkit
from vqkit.interfaces import DataSpec
from vqkit.report.pictures import COUNT, Pictures, embedded, strips
from vqkit.report.published import NOTE, published_for
from vqkit.report.results import Result, of_each_seed
from vqkit.report.subjects import Subject
from vqkit.report.summary import Spread, Table

_ROW_WIDTH = 880
"""CSS pixels that a row of pictures may be wide."""
_GAP = 2
"""Pixels between the pictures of a row, as `vqkit.image_io.pictures.grid` leaves them."""
_CAPTIONS = {
    "psnr_db": "Quality of what was filled in: PSNR of the missing part alone, mean over seeds; bars are deviations over seeds.",
    "ssim": "Quality of what was filled in: SSIM of the missing part alone, mean over seeds; bars are deviations over seeds.",
    "validation": "While training: PSNR on validation images, on the part that was hidden; a line for each run.",
    "losses": "Training loss, each model in its own units; a line for each run.",
}


class About(NamedTuple):
    """What a report is about: its title, the command that made it, and sentences on how the runs were trained."""

    title: str
    command: str
    notes: tuple[str, ...] = ()


class Data(NamedTuple):
    """The data of the runs: their specification, their name or path, and how many test images were measured."""

    spec: DataSpec
    place: str
    images: int


class Plot(NamedTuple):
    """A figure of the page: its name and the bytes of a PNG."""

    name: str
    png: bytes


def render(
    about: About,
    data: Data | None,
    tables: tuple[Sequence[Table], Sequence[Table]],
    results: Sequence[Result],
    plots: Sequence[Plot],
    pictures: Pictures,
    settings: Mapping[str, str],
    failed: Sequence[Subject],
) -> str:
    """The page. `data`: None where no run could be measured; `tables`: of what was filled in, and all others; `settings` of each
    model, as YAML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vqkit.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = format_cell
    quality, others = tables
    return environment.get_template("page.html.jinja").render(
        about=about,
        data=data,
        origin=origin(results),
        quality=[each for each in quality if each.columns],
        others=[each for each in others if each.columns],
        likelihoods=_likelihoods(results),
        published=_published(data, results),
        published_note=NOTE,
        plots=[{"caption": _CAPTIONS[plot.name], "uri": embedded("png", plot.png)} for plot in plots],
        galleries=[(gallery.scenario, strips(gallery.rows)) for gallery in pictures.galleries],
        strip_height=_strip_height(data.spec) if data else 0,
        samples=strips(pictures.samples),
        settings=settings,
        failed=failed,
    )


def format_cell(cell: Spread | None, decimals: int) -> str:
    """`1.23 ± 0.04`; without the deviation for one seed or where it is nothing; a dash where the figure is not defined."""
    if cell is None:
        return "–"  # noqa: RUF001 - a dash is what a reader expects in an empty cell
    mean = f"{cell.mean:,.{decimals}f}"
    return f"{mean} ± {cell.deviation:,.{decimals}f}" if cell.deviation else mean


def origin(results: Sequence[Result]) -> list[tuple[str, str]]:
    """By what the figures were made: versions, machine, and how long the training took."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    rows = [
        ("vqkit", vqkit.__version__),
        ("Python and torch", f"{platform.python_version()}, {torch.__version__}"),
        (
            "machine",
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} in use, {device}",
        ),
    ]
    seconds = {(result.model, result.seed): result.training_seconds for result in results if result.training_seconds is not None}
    if seconds:
        rows.append(("training", f"{sum(seconds.values()) / 60:.1f} minutes over {len(seconds)} runs"))
    return rows


def _likelihoods(results: Sequence[Result]) -> list[tuple[str, int, list[str]]]:
    """Likelihoods with the draws of an image, and the models whose bounds are by them."""
    found: dict[tuple[str, int], dict[str, None]] = {}
    for result in results:
        if result.likelihood is not None and result.bound_draws is not None:
            found.setdefault((result.likelihood, result.bound_draws), {})[result.model] = None
    return [(likelihood, draws, list(models)) for (likelihood, draws), models in found.items()]


def _published(data: Data | None, results: Sequence[Result]) -> list[dict[str, str]]:
    """Rows of the study's figures beside ours, for data that it is about."""
    rows = []
    for theirs in published_for(data.place) if data else ():
        ours = {}
        for field, digits in (("whole_mse", 4), ("whole_psnr_db", 1), ("whole_ssim", 3)):
            values = of_each_seed(results, theirs.model, field)
            ours[field] = f"{sum(values) / len(values):.{digits}f}" if values else "not run"
        rows.append(
            {
                "name": theirs.name,
                "model": theirs.model,
                "mse": "not given" if theirs.mse is None else f"{theirs.mse:.4f}",
                "psnr": theirs.psnr_db,
                "ssim": "not given" if theirs.ssim is None else f"{theirs.ssim:.3f}",
                **ours,
            }
        )
    return rows


def _strip_height(spec: DataSpec) -> int:
    """CSS pixels that a row of pictures is high: enlarged as often as it still fits on a desk's screen."""
    width = COUNT * (spec.width + _GAP) + _GAP
    return (spec.height + 2 * _GAP) * max(1, _ROW_WIDTH // width)
