"""`vqkit config`: the configuration of runs, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.panels import OUTPUT

config_app = typer.Typer(help="The configuration of runs, for editors.", no_args_is_help=True, rich_markup_mode="rich")


@config_app.callback()
def _root() -> None:
    """A group, although it has one command so far."""


@config_app.command()
def schema(
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="File to write it to. Default: print it.", rich_help_panel=OUTPUT),
    ] = None,
) -> None:
    """Write a JSON Schema of the configuration: editors complete settings with it, explain them and mark wrong ones.

    It lists the models, quantizers, priors and data sets of other installed packages as well. An editor with a YAML language server
    finds it through a comment in the first line of a configuration, which this command prints when it has written a file.
    """
    import json

    from vqkit.core.atomic import write_text
    from vqkit.training.config_schema import config_schema

    text = json.dumps(config_schema(), indent=1) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)
    typer.echo(f"Done: {out}\nFirst line of a configuration beside it:\n# yaml-language-server: $schema={out.name}")
