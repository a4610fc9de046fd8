"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.panels import MODEL, OUTPUT, RUNTIME

RunOption = Annotated[
    str | None,
    typer.Option(
        "--run",
        "-r",
        help="Run directory, checkpoint directory or model.safetensors. Default: the newest suitable run in runs/.",
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
OutOption = Annotated[Path | None, typer.Option("--out", "-o", help="Directory to write to.")]
