"""`vqkit evaluate`: how good a model is on held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli.conditions import parse_names
from vqkit.cli.inpaint import BatchSizeOption
from vqkit.cli.parameters import DataOption, DeviceOption, JsonOption

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vqkit.evaluate import Evaluation, Figures

_WIDEST = 8
"""Components up to which the table has a column for the IoU of each."""

_PIPED_WIDTH = 240
"""Characters a line of output that goes to a file or another program, where cutting cells short would lose figures."""

RunsOption = Annotated[
    list[str] | None,
    typer.Option("--run", "-r", help="A run to measure; repeat it to compare several. Default: the newest in runs/."),
]
KeepsOption = Annotated[
    list[str] | None,
    typer.Option("--keep", "-k", metavar="NAMES", help="Components that are seen, such as group_nc,bt. May be repeated."),
]
HolesOption = Annotated[
    str | None,
    typer.Option(
        "--mask-kind", help="Holes to fill in: boxes, free-form, half or none. Default: boxes for colour and grey pictures."
    ),
]
SplitOption = Annotated[str, typer.Option("--split", help="Part of the data set: train, val or test.")]
LimitOption = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many images.")]


def evaluate(
    run: RunsOption = None,
    data: DataOption = None,
    split: SplitOption = "test",
    keep: KeepsOption = None,
    holes: HolesOption = None,
    conditions: Annotated[bool, typer.Option("--conditions", help="Tell the model the images' conditions.")] = False,
    limit: LimitOption = None,
    batch_size: BatchSizeOption = 64,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the figures to this JSON file.")] = None,
) -> None:
    """Measure models on held-out images: errors on what was missing, from whole input on everything.

    Without --keep, every component is kept alone and left out alone. docs/evaluation.md explains the figures.
    """
    keeps = [parse_names(names) for names in keep or []]
    import json
    from functools import partial

    from vqkit.atomic import write_text
    from vqkit.cli.counting import counting
    from vqkit.evaluate import evaluate as measure
    from vqkit.precision import choose_device

    chosen = choose_device(device)
    progress = partial(counting, "measured")
    runs: list[str | None] = [*run] if run else [None]
    evaluations = [measure(each, data, split, keeps, holes, batch_size, limit, conditions, chosen, progress) for each in runs]
    content = json.dumps({"evaluations": [evaluation.to_json() for evaluation in evaluations]}, indent=2)
    if out is not None:
        write_text(out, content + "\n")
    if as_json:
        typer.echo(content)
        return
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    for evaluation in evaluations:
        _print(console, evaluation)
    if len(evaluations) > 1:
        console.print(_comparison(evaluations))
    if out is not None:
        console.print(f"figures written to {out}", highlight=False, soft_wrap=True)


def _print(console: Console, evaluation: Evaluation) -> None:
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


def _comparison(evaluations: list[Evaluation]) -> Table:
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
