"""`vqkit reproduce`: train all models under one budget and compare their inpaintings in a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.panels import MODEL, OUTPUT, RUNTIME, TRAINING
from vqkit.cli.parameters import DeviceOption


def reproduce(
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            "-p",
            help="Budget and network sizes: smoke (minutes), laptop (an hour), full (for a GPU), or a YAML file.",
            rich_help_panel=TRAINING,
        ),
    ] = "smoke",
    data: Annotated[
        str, typer.Option("--data", "-d", help="Name of a data set, or a path to pictures or arrays.", rich_help_panel=MODEL)
    ] = "tyre",
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            "-m",
            metavar="NAMES",
            help="Models to compare, separated by commas, such as vae,vqvae. MODEL+METHOD starts from an encoder pretrained with "
            "METHOD. Default: all models, and those pretrained ones that the preset names.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Directory of runs and report. Default: reports/<preset>-<data>.", rich_help_panel=OUTPUT),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            help="Number of runs trained in parallel. Default: one per core, as far as memory allows; one on a GPU.",
            rich_help_panel=RUNTIME,
        ),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train every model under the same budget and compare their inpaintings of the same held-out images.

    Writes a self-contained HTML report, results.csv and figures for papers. When interrupted, run the
    same command again: finished runs are kept, and the others resume from their last checkpoint.
    """
    import shlex
    import sys

    from vqkit.cli.counting import counting
    from vqkit.reproduce.comparing import reproduce as compare

    names = [name.strip() for name in models.split(",")] if models else []
    command = shlex.join(["vqkit", *sys.argv[1:]])
    report = compare(preset, data, names, out, device, command, jobs, progress=counting)
    typer.echo(f"Done: {report.page}")
