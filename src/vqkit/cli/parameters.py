"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.panels import INPUT, KNOWN, MODEL, OUTPUT, RUNTIME
from vqkit.errors import ConfigError

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        "-r",
        help="Run directory, checkpoint directory, model.safetensors, or builtin:tyre, which comes with vqkit. Default: the newest "
        "suitable run in runs/.",
        rich_help_panel=MODEL,
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        "-d",
        help="Name of a data set (`vqkit models` lists them) or a path to pictures or arrays.",
        rich_help_panel=MODEL,
    ),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.", rich_help_panel=RUNTIME)]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout, and nothing else there.", rich_help_panel=OUTPUT)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting of the configuration, such as model.quantizer.num_codes=1024. May be repeated.",
        rich_help_panel=MODEL,
    ),
]
SplitOption = Annotated[str, typer.Option("--split", help="Part of the data set: train, val or test.", rich_help_panel=MODEL)]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        help="Number of images, drawn from the whole split and always the same. Default: all.",
        rich_help_panel=MODEL,
    ),
]
KeepOption = Annotated[
    str | None,
    typer.Option(
        "--keep",
        "-k",
        metavar="NAMES",
        help="Components that are kept, such as group_nc,bt; all others are missing.",
        rich_help_panel=KNOWN,
    ),
]
FormOption = Annotated[
    str | None,
    typer.Option(
        "--form",
        help="Form of the files, if ambiguous: component, strip, label-map, channels, colour, channels-first or channels-last.",
        rich_help_panel=INPUT,
    ),
]
PatternOption = Annotated[
    str | None,
    typer.Option(
        "--pattern",
        metavar="PATTERN",
        help="Where the files of a directory are, such as '{component}/{name}.tif'. Default: recognised.",
        rich_help_panel=INPUT,
    ),
]
PriorOption = Annotated[
    str | None,
    typer.Option(
        "--prior",
        metavar="RUN",
        help="Draw several answers from this prior of the model's codes, which was trained with --condition-on observed, or from "
        "builtin:tyre-prior.",
        rich_help_panel=MODEL,
    ),
]
TokenizerOption = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        help="Where the prior's tokenizer is now, if its run was moved. A different tokenizer is refused.",
        rich_help_panel=MODEL,
    ),
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", "-b", min=1, help="Images per batch.", rich_help_panel=RUNTIME)]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Directory to write to.", rich_help_panel=OUTPUT)]


def print_notes(notes: Sequence[str]) -> None:
    """Print what was left out of a directory, or may be mistaken, to stderr."""
    for note in notes:
        typer.secho(f"Note: {note}", fg="yellow", err=True)


def run_or_builtin(run: str | None, kind: str) -> str | None:
    """`run`, or where none is named and none was trained, the built-in model of this kind (model or prior), after saying so."""
    from vqkit.storage.builtin import builtin_of
    from vqkit.storage.runs import has_run

    if run is not None or has_run(kind):
        return run
    chosen = builtin_of(kind)
    print_notes([f"There is no trained {kind} in runs/ yet: using {chosen}, a small one of tyre sections that comes with vqkit."])
    return chosen


def figure_count(figures: str) -> int | None:
    """The value of --figures: of how many images a figure is made, None for all. Raises `ConfigError` for what is no number."""
    if figures in ("all", "none"):
        return None if figures == "all" else 0
    if not figures.isdecimal():
        raise ConfigError(f"--figures is '{figures}'.", "Give a number, all or none.")
    return int(figures)
