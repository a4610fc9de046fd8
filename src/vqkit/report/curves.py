"""Figures of a report for the page and for papers: learning curves and comparisons.

They are drawn without pyplot, which keeps global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from vqkit.report.history import Row, curve
from vqkit.report.results import floor_name
from vqkit.report.summary import Column, ComparisonTable, ranked

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#663e14", "#000000")
# Okabe and Ito (2008), as in vqkit.image_io.pictures, without their yellow, which cannot be seen as a line on white.
_STYLES = ("-", "--", ":")
_WIDTH = 8.0
"""Inches."""
_PANELS = 3
"""Panels side by side."""

Histories = Mapping[str, Mapping[int, list[Row]]]
"""The recorded metrics of every model's runs, by seed."""


def validation_curves(histories: Histories) -> Figure:
    """PSNR on the masked part of validation images (on everything where nothing was masked) of every run, over steps."""
    figure, axes = _panel("step", "PSNR on validation images, dB")
    for number, (model, seeds) in enumerate(histories.items()):
        for position, rows in enumerate(seeds.values()):
            masked = any("val/psnr_masked" in row for row in rows)
            steps, values = curve(rows, "val/psnr_masked" if masked else "val/psnr")
            axes.plot(steps, values, **_line(number), label=model if position == 0 else None)
    if histories:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False)
    return figure


def loss_curves(histories: Histories) -> Figure:
    """Training loss of every run over steps, a panel for each model: losses of different models have different units."""
    lines = max(1, -(-len(histories) // _PANELS))
    figure = Figure(figsize=(_WIDTH, 2.0 * lines), layout="constrained")
    panels = figure.subplots(lines, _PANELS, squeeze=False).flatten()
    for number, (axes, (model, seeds)) in enumerate(zip(panels, histories.items(), strict=False)):
        for rows in seeds.values():
            recent = [row for row in rows if "images_per_second" in row]  # the others are averages over whole epochs
            axes.plot(*curve(recent, "train/loss"), **_line(number))
        axes.set_title(model, fontsize=9)
        _plain(axes)
    for axes in panels[len(histories) :]:
        axes.set_visible(False)
    return figure


def comparison(tables: Sequence[ComparisonTable], column: Column) -> Figure:
    """A metric with its standard deviation over seeds, for every model; a panel for each table that has the column.

    A dashed line marks the best simple predictor.
    """
    shown = [each for each in tables if column in each.columns]
    figure = Figure(figsize=(_WIDTH, 0.6 + 0.3 * max((len(each.cells) for each in shown), default=1)), layout="constrained")
    panels = figure.subplots(1, max(1, len(shown)), squeeze=False, sharey=True)[0]
    for axes, each in zip(panels, shown, strict=False):
        position = each.columns.index(column)
        models = list(reversed(each.cells))
        for height, model in enumerate(models):
            cell = each.cells[model][position]
            if cell is not None:
                axes.errorbar(cell.mean, height, xerr=cell.std, fmt="o", color=_COLOURS[0], capsize=3, markersize=5)
        floors = ranked(column, {name: cells[position] for name, cells in each.floors.items()})
        for _, cell in floors[:1]:
            axes.axvline(cell.mean, color="0.4", linestyle="--", linewidth=1.0)
        axes.set_yticks(range(len(models)), models)
        axes.set_ylim(-0.6, len(models) - 0.4)
        dashed = f" (dashed: {floor_name(floors[0][0])})" if floors else ""
        axes.set_title(f"{each.title}{dashed}", fontsize=9)
        axes.set_xlabel(column.title, fontsize=8)
        _plain(axes)
        axes.grid(axis="x", alpha=0.3)
    return figure


def _panel(horizontal: str, vertical: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(horizontal, fontsize=8)
    axes.set_ylabel(vertical, fontsize=8)
    _plain(axes)
    return figure, axes


def _line(number: int) -> dict[str, Any]:
    """The style of a model's lines: colours first, then dashes, so that no two models look the same."""
    style = _STYLES[number // len(_COLOURS) % len(_STYLES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": style, "linewidth": 1.3}


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
