"""What `vqkit evaluate` prints for a model: a row for each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from vqkit.cli.counting import count_of
from vqkit.cli.number_format import decimals

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vqkit.evaluation.autoencoder import CodeBits, Evaluation
    from vqkit.evaluation.bounds import Bounds
    from vqkit.evaluation.scenario_metrics import FloorMetrics, MissingPartMetrics, ScenarioMetrics

FloorChoice = Literal["best", "all", "none"]
"""Which of the floors of a scenario have a row."""
_WIDEST = 8
"""Binary components up to which the table has a column for the IoU of each."""
_OWN_UNITS = ("MSE / variance", "RMSE", "MAE")
"""Columns that only rows of single components have."""


def print_model(console: Console, evaluation: Evaluation, floors: FloorChoice = "best") -> None:
    """One run: what was evaluated, metrics of every scenario with its `floors`, then bounds and code usage."""
    from vqkit.data.opening import typed_as

    conditions = ", with conditions" if evaluation.with_conditions else ""
    data = typed_as(evaluation.data)
    relative = "" if evaluation.relative_error is None else f"MSE / data variance {evaluation.relative_error:.4f}, "
    rate = f"{evaluation.images_per_second:.0f} images/s"
    what = f"{count_of(evaluation.images)} of {data}, {evaluation.split} split{conditions}"
    console.print(f"{evaluation.run}: {what}", highlight=False, soft_wrap=True)
    console.print(_table(evaluation, floors))
    names = {"fid": "rFID", "lpips": "LPIPS"}
    distances = "".join(f"{names[name]} {value:.4g}, " for name, value in evaluation.distances.items())
    console.print(f"full input: {distances}{relative}{rate}", highlight=False, soft_wrap=True)
    for note in evaluation.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    if evaluation.bounds is not None:
        console.print(_bounds_table(evaluation.bounds))
    if evaluation.bits is not None:
        console.print(_codes_table(evaluation, evaluation.bits))


def _table(evaluation: Evaluation, floors: FloorChoice) -> Table:
    """A row for each scenario, and below it, where there are intensities, one for each component that was judged; then its floors.

    Errors are measured on what was missing. There is a column for the images only where they are not the same in all rows.
    """
    from rich.table import Table

    full, parts = evaluation.full, (evaluation.full, *evaluation.parts)
    measured = any(each.rmse is not None for each in full.components.values())
    shapes = list(full.iou) if len(full.iou) <= _WIDEST and not measured else []
    columns = ["images"] if any(part.images != evaluation.images for part in parts) else []
    columns += ["MSE", "PSNR dB", "pooled dB", "SSIM"]
    columns += ["MSE / variance", "RMSE", "MAE"] if measured else []
    columns += ["IoU", "Dice"] if full.iou else []
    table = Table("input", box=None, header_style="bold", pad_edge=False)
    for name in (*columns, *(f"IoU {name}" for name in shapes)):
        table.add_column(name, justify="right")
    for part in parts:
        for label, row in ((part.name, part), *((_floor_label(floor), floor) for floor in _shown(part, floors))):
            cells = _scenario_cells(row)
            if measured and len(row.components) == 1:
                cells |= {name: cell for name, cell in _component_cells(row, *row.components).items() if name in _OWN_UNITS}
            table.add_row(label, *(cells[name] for name in columns), *(decimals(row.iou.get(name), 4) for name in shapes))
            for name in row.components if measured and len(row.components) > 1 and row is part else ():
                own = _component_cells(row, name)
                table.add_row(f"  {name}", *(own[column] for column in columns))
    return table


def _shown(part: ScenarioMetrics, floors: FloorChoice) -> Sequence[FloorMetrics]:
    """The floors of a scenario that have a row."""
    from vqkit.evaluation.verdicts import best_floor

    best = best_floor(part)
    return part.floors if floors == "all" else [best] if floors == "best" and best is not None else []


def _floor_label(floor: FloorMetrics) -> str:
    """The name of a floor, and what it copies where that is one component."""
    copied = set(floor.sources.values())
    return f"  floor: {floor.name}{f' of {copied.pop()}' if len(copied) == 1 else ''}"


def _scenario_cells(part: MissingPartMetrics) -> dict[str, str]:
    """The cells of a scenario by column; those of single components are empty."""
    return {
        "images": str(part.images),
        "MSE": decimals(part.mse, 5),
        "PSNR dB": decimals(part.psnr, 2),
        "pooled dB": decimals(part.pooled_psnr, 2),
        "SSIM": decimals(part.ssim, 4),
        **dict.fromkeys(_OWN_UNITS, ""),
        "IoU": decimals(part.mean_iou, 4),
        "Dice": decimals(part.mean_dice, 4),
    }


def _component_cells(part: MissingPartMetrics, name: str) -> dict[str, str]:
    """The cells of one component of a scenario by column: errors of intensities, overlap of shapes."""
    found = part.components[name]
    binary = name in part.iou
    unit = f" {found.unit}" if found.unit else ""
    measured = ("MSE", found.mse, 5), ("PSNR dB", found.psnr, 2), ("pooled dB", found.pooled_psnr, 2), ("SSIM", found.ssim, 4)
    return {
        "images": str(found.images),
        **{column: decimals(None if binary else value, digits) for column, value, digits in measured},
        "MSE / variance": decimals(None if binary else found.relative_error, 4),
        "RMSE": "-" if found.rmse is None else f"{found.rmse:.4g}{unit}",
        "MAE": "-" if found.mae is None else f"{found.mae:.4g}{unit}",
        "IoU": decimals(part.iou.get(name), 4),
        "Dice": decimals(part.dice.get(name), 4),
    }


def _codes_table(evaluation: Evaluation, bits: CodeBits) -> Table:
    """A row for each level of codes: its usage and its size; then the size of all codes of an image."""
    from rich.table import Table

    table = Table("codes", box=None, header_style="bold", pad_edge=False)
    for name in ("grid", "used", "usage", "perplexity", "bits at log2 K", "bits at entropy"):
        table.add_column(name, justify="right")
    for level in evaluation.levels:
        grid, used = f"{level.grid[0]} x {level.grid[1]}", f"{level.used} of {level.num_codes}"
        uniform, entropy = f"{level.uniform_bits:.1f}", f"{level.entropy_bits:.1f}"
        table.add_row(level.name, grid, used, f"{level.usage:.1%}", f"{level.perplexity:.1f}", uniform, entropy)
    image, pixel = (
        (f"{bits.uniform_bits_per_image:.1f}", f"{bits.entropy_bits_per_image:.1f}"),
        (f"{bits.uniform_bits_per_pixel:.4f}", f"{bits.entropy_bits_per_pixel:.4f}"),
    )
    table.add_row("per image", "", "", "", "", *image)
    table.add_row("per pixel", "", "", "", "", *pixel)
    return table


def _bounds_table(bounds: Bounds) -> Table:
    """Both bounds on the log-likelihood, under the likelihood that is named."""
    from rich.table import Table

    table = Table(f"bound ({bounds.likelihood} likelihood)", box=None, header_style="bold", pad_edge=False)
    for name in ("nats/image", "bits/dim"):
        table.add_column(name, justify="right")
    table.add_row("ELBO", f"{bounds.elbo:.2f}", f"{bounds.elbo_bits:.4f}")
    tight = f"{bounds.importance_weighted:.2f} +- {bounds.standard_error:.2f}"
    table.add_row(f"importance-weighted ({bounds.samples} samples)", tight, f"{bounds.bits:.4f}")
    return table


def model_comparison(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each scenario that all runs share and a column for each run, the best in bold: IoU, or else the pooled PSNR.

    The last column is the best floor where all runs have the same ones.
    """
    from rich.table import Table

    shapes = all(evaluation.full.mean_iou is not None for evaluation in evaluations)
    metric, digits = ("IoU", 4) if shapes else ("pooled PSNR dB", 2)
    by_name = [{part.name: part for part in (each.full, *each.parts)} for each in evaluations]
    shared = [[parts[name] for parts in by_name] for name in by_name[0] if all(name in parts for parts in by_name)]
    with_floors = any(_shared_floors(parts) for parts in shared)
    table = Table(metric, *(evaluation.run for evaluation in evaluations), box=None, header_style="bold", pad_edge=False)
    table.title = "comparison"
    if with_floors:
        table.add_column("best floor")
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    for parts in shared:
        figures: list[tuple[float | None, str]] = [(each.mean_iou if shapes else each.pooled_psnr, "") for each in parts]
        if with_floors:
            of_floors = [(each.mean_iou if shapes else each.pooled_psnr, f" {each.name}") for each in _shared_floors(parts)]
            figures.append(max(of_floors, key=lambda each: each[0] or 0.0, default=(None, "")))
        best = decimals(max((value for value, _ in figures if value is not None), default=None), digits)
        texts = [(decimals(value, digits), name) for value, name in figures]
        cells = (f"[bold]{text}{name}[/bold]" if text == best != "-" else f"{text}{name}" for text, name in texts)
        table.add_row(parts[0].name, *cells)
    return table


def _shared_floors(parts: Sequence[ScenarioMetrics]) -> tuple[FloorMetrics, ...]:
    """The floors of a scenario if they are the same for all runs; else none."""
    return parts[0].floors if all(part.floors == parts[0].floors for part in parts) else ()
