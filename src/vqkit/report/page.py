"""The page of a report: one self-contained HTML file, readable on a phone, on paper, and in dark mode."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
import torch

import vqkit
from vqkit.image_io.data_uris import data_uri, embedded
from vqkit.interfaces import DataSpec, ShownImages
from vqkit.report.compared_runs import ComparedRun
from vqkit.report.pictures import COUNT, PictureCollector, strips
from vqkit.report.published import NOTE, published_for
from vqkit.report.results import Result, values_by_seed
from vqkit.report.summary import ComparisonTable, SeedStatistics

_ROW_WIDTH = 880
"""Width of a row of images, at most, in CSS pixels."""
_GAP = 2
"""Pixels between the images of a row, as `vqkit.image_io.pictures.grid` leaves them."""
_UNDEFINED = "–"  # noqa: RUF001 - a dash is what a reader expects in an empty cell
_CAPTIONS = {
    "pooled_psnr_db": "PSNR of the mean squared error on the missing part, mean over seeds; error bars are standard deviations "
    "over seeds; dashed: the best simple predictor.",
    "ssim": "SSIM on the missing part, mean over seeds; error bars are standard deviations over seeds; dashed: the best simple "
    "predictor.",
    "validation": "PSNR on the masked part of validation images during training; one line per run.",
    "losses": "Training loss, in each model's own units; one line per run.",
}


class About(NamedTuple):
    """Description of a report: its title, the command that wrote it, and notes on how the runs were trained."""

    title: str
    command: str
    notes: tuple[str, ...] = ()


class EvaluatedData(NamedTuple):
    """The data of the runs: specification, name or path, and the number of test images that were evaluated."""

    spec: DataSpec
    place: str
    images: int


class TablesOfPage(NamedTuple):
    """The tables: of errors on missing parts, of errors of intensities in their own units, and all others.

    `notes`: sentences on figures in them that mean less than they seem to.
    """

    quality: Sequence[ComparisonTable]
    own_units: Sequence[ComparisonTable]
    others: Sequence[ComparisonTable]
    notes: Sequence[str] = ()


class Plot(NamedTuple):
    """A figure of the page: its name and the bytes of a PNG."""

    name: str
    png: bytes


def render(
    about: About,
    data: EvaluatedData | None,
    tables: TablesOfPage,
    results: Sequence[Result],
    plots: Sequence[Plot],
    pictures: PictureCollector,
    settings: Mapping[str, str],
    failed: Sequence[ComparedRun],
) -> str:
    """The page as HTML.

    `data`: None where no run could be measured; `settings` of each model, as YAML.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vqkit.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["cell"] = format_cell
    return environment.get_template("page.html.jinja").render(
        about=about,
        data=data,
        origin=origin(results),
        quality=[each for each in tables.quality if each.columns],
        own_units=[each for each in tables.own_units if each.columns],
        others=[each for each in tables.others if each.columns],
        notes=tables.notes,
        gaps=any((result.scenario_images or 0) < (result.test_images or 0) for result in results if result.scenario is not None),
        likelihoods=_likelihoods(results),
        published=_published(data, results),
        published_note=NOTE,
        plots=[{"caption": _CAPTIONS[plot.name], "uri": embedded("png", plot.png)} for plot in plots],
        galleries=[(gallery.scenario, *_shown(pictures, gallery.rows)) for gallery in pictures.galleries],
        strip_height=_strip_height(data.spec) if data else 0,
        samples=_shown(pictures, pictures.samples) if pictures.samples else None,
        settings=settings,
        failed=failed,
    )


def _shown(pictures: PictureCollector, rows: Mapping[str, ShownImages]) -> tuple[dict[str, str], str | None]:
    """Rows of images as data URIs: each as a strip, and the sheet of their components where there is one."""
    components = pictures.components(rows)
    return strips(pictures.composites(rows)), None if components is None else data_uri(components)


def format_cell(cell: SeedStatistics | None, decimals: int) -> str:
    """`1.23 ± 0.04`; without the standard deviation for one seed or where it is zero; a dash for an undefined value."""
    if cell is None:
        return _UNDEFINED
    mean = f"{cell.mean:,.{decimals}f}"
    return f"{mean} ± {cell.std:,.{decimals}f}" if cell.std else mean


def origin(results: Sequence[Result]) -> list[tuple[str, str]]:
    """The software and the machine that produced the results, and the training time."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    rows = [
        ("vqkit", vqkit.__version__),
        ("Python and torch", f"{platform.python_version()}, {torch.__version__}"),
        (
            "machine",
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} used by torch, {device}",
        ),
    ]
    seconds = {(result.model, result.seed): result.training_seconds for result in results if result.training_seconds is not None}
    if seconds:
        rows.append(("training", f"{sum(seconds.values()) / 60:.1f} minutes over {len(seconds)} runs"))
    return rows


def _likelihoods(results: Sequence[Result]) -> list[tuple[str, int, list[str]]]:
    """Likelihoods with the number of posterior samples, and the models with these bounds."""
    found: dict[tuple[str, int], dict[str, None]] = {}
    for result in results:
        if result.likelihood is not None and result.bound_draws is not None:
            found.setdefault((result.likelihood, result.bound_draws), {})[result.model] = None
    return [(likelihood, draws, list(models)) for (likelihood, draws), models in found.items()]


def _published(data: EvaluatedData | None, results: Sequence[Result]) -> list[dict[str, str]]:
    """Rows of published results beside ours, for data that have some."""
    rows = []
    for theirs in published_for(data.place) if data else ():
        ours = {}
        for field, digits in (("whole_mse", 4), ("whole_psnr_db", 1), ("whole_ssim", 3)):
            values = values_by_seed(results, theirs.model, field)
            ours[field] = f"{sum(values) / len(values):.{digits}f}" if values else "not run"
        rows.append(
            {
                "name": theirs.name,
                "model": theirs.model,
                "mse": _UNDEFINED if theirs.mse is None else f"{theirs.mse:.4f}",
                "psnr": theirs.psnr_db,
                "ssim": _UNDEFINED if theirs.ssim is None else f"{theirs.ssim:.3f}",
                **ours,
            }
        )
    return rows


def _strip_height(spec: DataSpec) -> int:
    """Height of a row of images in CSS pixels: the largest whole multiple that fits `_ROW_WIDTH`."""
    width = COUNT * (spec.width + _GAP) + _GAP
    return (spec.height + 2 * _GAP) * max(1, _ROW_WIDTH // width)
