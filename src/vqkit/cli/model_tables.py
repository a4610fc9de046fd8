"""What `vqkit evaluate` prints of a model: a row for each way of hiding something from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vqkit.evaluate import Evaluation, Figures

_WIDEST = 8
"""Components up to which the table has a column for the IoU of each."""


def print_model(console: Console, evaluation: Evaluation) -> None:
    """One run: what was measured, the table, and what concerns the whole."""
    told = ", conditions told" if evaluation.conditions else ""
    data = evaluation.data.get("path", evaluation.data["name"])
    relative = "" if evaluation.relative_error is None else f"MSE / data variance {evaluation.relative_error:.4f}, "
    rate = f"{evaluation.images_per_second:.0f} images/s"
    what = f"{evaluation.images} images of {data}, {evaluation.split} split{told}"
    console.print(f"{evaluation.run}: {what}", highlight=False, soft_wrap=True)
    console.print(_table(evaluation))
    console.print(f"full input: {relative}{rate}", highlight=False, soft_wrap=True)
    for level in evaluation.levels:
        use = f"{level.used} of {level.num_codes} used ({level.usage:.1%}), perplexity {level.perplexity:.1f}"
        console.print(f"{level.name}: {use}", highlight=False, soft_wrap=True)


def _table(evaluation: Evaluation) -> Table:
    """A row for each scenario; errors are of what was missing in it."""
    from rich.table import Table

    full = evaluation.full
    names = list(full.iou) if len(full.iou) <= _WIDEST else []
    table = Table("input", "MSE", "PSNR dB", "SSIM", box=None, header_style="bold", pad_edge=False)
    if full.iou:
        for name in ("IoU", "Dice", *(f"IoU {name}" for name in names)):
            table.add_column(name)
    for column in table.columns[1:]:
        column.justify = "right"
    for part in (full, *evaluation.parts):
        cells = [part.name, f"{part.mse:.5f}", f"{part.psnr:.2f}", f"{part.ssim:.4f}"]
        if full.iou:
            overlaps = [part.mean_iou, part.mean_dice, *(part.iou.get(name) for name in names)]
            cells += ["-" if value is None else f"{value:.4f}" for value in overlaps]
        table.add_row(*cells)
    return table


def model_comparison(evaluations: Sequence[Evaluation]) -> Table:
    """A row for each scenario that all runs share and a column for each run, the best in bold."""
    from rich.table import Table

    figure = "IoU" if all(evaluation.full.mean_iou is not None for evaluation in evaluations) else "PSNR dB"
    table = Table(
        figure, *(evaluation.run for evaluation in evaluations), box=None, header_style="bold", pad_edge=False, title="comparison"
    )
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    by_name = [{part.name: part for part in (each.full, *each.parts)} for each in evaluations]
    for name in by_name[0]:
        if all(name in parts for parts in by_name):
            values = [_headline(parts[name], figure) for parts in by_name]
            digits = 4 if figure == "IoU" else 2
            best = f"{max(values):.{digits}f}"
            texts = [f"{value:.{digits}f}" for value in values]
            table.add_row(name, *(f"[bold]{text}[/bold]" if text == best else text for text in texts))
    return table


def _headline(part: Figures, figure: str) -> float:
    return part.mean_iou if figure == "IoU" and part.mean_iou is not None else part.psnr
