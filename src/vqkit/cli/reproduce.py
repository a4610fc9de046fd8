"""`vqkit reproduce`: which model fills in best? Trains them all and writes a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.parameters import DeviceOption


def reproduce(
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="smoke (minutes), laptop (an hour), full (a GPU), or a YAML file.")
    ] = "smoke",
    data: Annotated[str, typer.Option("--data", "-d", help="tyre, cifar10, any other data set, or a path to pictures.")] = "tyre",
    models: Annotated[
        str | None, typer.Option("--models", "-m", metavar="NAMES", help="Models to compare, such as vae,vqvae. Default: all.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write. Default: reports/<preset>-<data>.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Runs trained at the same time. Default: one for every core, one on a GPU."),
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Train every model under the same budget and compare how they fill in the same held-out images.

    Writes a page that needs no other file, results.csv, and figures for papers. Stopped and typed again, it goes on where it
    stopped; what is trained is not trained again.
    """
    import shlex
    import sys

    from vqkit.cli.counting import counting
    from vqkit.reproduce.comparing import reproduce as compare

    names = [name.strip() for name in models.split(",")] if models else []
    command = shlex.join(["vqkit", *sys.argv[1:]])
    report = compare(preset, data, names, out, device, command, jobs, progress=counting)
    typer.echo(f"Done: {report.page}")
