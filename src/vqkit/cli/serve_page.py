"""`vqkit app`: fill in images in the browser."""

from __future__ import annotations

from typing import Annotated

import typer

from vqkit.cli import panels
from vqkit.cli.parameters import DataOption, DeviceOption, PriorOption, RunOption, run_or_builtin
from vqkit.core.cpus import wait_without_spinning

HostOption = Annotated[
    str,
    typer.Option(
        "--host",
        help="Address to serve at. The default is reached from this machine alone; 0.0.0.0 offers the page, without a password, to "
        "everyone who can reach the machine.",
        rich_help_panel=panels.RUNTIME,
    ),
]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port to serve at.", rich_help_panel=panels.RUNTIME)]


def app_page(
    run: RunOption = None,
    prior: PriorOption = None,
    data: DataOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 7860,
    device: DeviceOption = "auto",
) -> None:
    """Fill in images in the browser: choose a test image or give a file, tick what is known or paint a hole, and see the result.

    Beside what is filled in stand the true values and the error where they are known, the codes that are used, several answers
    and where they differ (with --prior), and which component to measure next. The result is downloaded as `vqkit inpaint`
    writes it.

    Before anything was trained, the models of tyre sections that come with vqkit are used (builtin:tyre). The page needs no
    network, and is only served to this machine unless --host says otherwise. It needs vqkit's extra `app` (Gradio).
    """
    wait_without_spinning()
    from vqkit.app.serving import check_address, load_gradio, serve
    from vqkit.app.session import open_session

    load_gradio()
    check_address(host, port)
    chosen = run_or_builtin(run, "model") if prior is None else run
    session = open_session(chosen, prior, data, device)
    typer.echo(f"using {session.pipeline.path}")

    def ready(address: str) -> None:
        typer.echo(f"open {address} in a browser; Ctrl-C ends the page")

    serve(session, host, port, ready)
