"""What `vqkit evaluate` prints for a model: a row for each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vqkit.evaluation.autoencoder import CodeBits, Evaluation, ScenarioMetrics
    from vqkit.evaluation.bounds import Bounds

_WIDEST = 8
"""Components up to which the table has a column for the IoU of each."""


def print_model(console: Console, evaluation: Evaluation) -> None:
    """One run: what was evaluated, metrics of every scenario, then bounds and code usage."""
    from vqkit.data.opening import typed_as

    conditions = ", with conditions" if evaluation.with_conditions else ""
    data = typed_as(evaluation.data)
    relative = "" if evaluation.relative_error is None else f"MSE / data variance {evaluation.relative_error:.4f}, "
    rate = f"{evaluation.images_per_second:.0f} images/s"
    what = f"{evaluation.images} images of {data}, {evaluation.split} split{conditions}"
    console.print(f"{evaluation.run}: {what}", highlight=False, soft_wrap=True)
    console.print(_table(evaluation))
    names = {"fid": "rFID", "lpips": "LPIPS"}
    distances = "".join(f"{names[name]} {value:.4g}, " for name, value in evaluation.distances.items())
    console.print(f"full input: {distances}{relative}{rate}", highlight=False, soft_wrap=True)
    if evaluation.bounds is not None:
        console.print(_bounds_table(evaluation.bounds))
    if evaluation.bits is not None:
        console.print(_codes_table(evaluation, evaluation.bits))


def _table(evaluation: Evaluation) -> Table:
    """A row for each scenario; errors are measured on what was missing in it."""
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
    """A row for each scenario that all runs share and a column for each run, the best in bold."""
    from rich.table import Table

    metric = "IoU" if all(evaluation.full.mean_iou is not None for evaluation in evaluations) else "PSNR dB"
    table = Table(
        metric, *(evaluation.run for evaluation in evaluations), box=None, header_style="bold", pad_edge=False, title="comparison"
    )
    for column in table.columns[1:]:
        column.justify, column.overflow = "right", "fold"
    by_name = [{part.name: part for part in (each.full, *each.parts)} for each in evaluations]
    for name in by_name[0]:
        if all(name in parts for parts in by_name):
            values = [_headline(parts[name], metric) for parts in by_name]
            digits = 4 if metric == "IoU" else 2
            best = f"{max(values):.{digits}f}"
            texts = [f"{value:.{digits}f}" for value in values]
            table.add_row(name, *(f"[bold]{text}[/bold]" if text == best else text for text in texts))
    return table


def _headline(part: ScenarioMetrics, metric: str) -> float:
    return part.mean_iou if metric == "IoU" and part.mean_iou is not None else part.psnr
