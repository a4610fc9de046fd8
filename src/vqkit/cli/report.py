"""`vqkit report`: a page that compares existing runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.parameters import DeviceOption, LimitOption, OutOption

RunsArgument = Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs of train-vqvae, all trained on the same data set.")]


def report(
    runs: RunsArgument,
    out: OutOption = Path("reports/runs"),
    limit: LimitOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare runs on the same held-out images: a self-contained page, results.csv, and figures for papers.

    Of a run, its best checkpoint is measured, or the checkpoint that is named. Runs that differ only in their seed share a row,
    with mean and standard deviation.
    """
    import shlex
    import sys

    from vqkit.cli.counting import counting
    from vqkit.core.precision import choose_device
    from vqkit.errors import CheckpointError
    from vqkit.report.compared_runs import find_runs
    from vqkit.report.measuring import EvaluationProtocol
    from vqkit.report.page import About
    from vqkit.report.writing import write_report

    compared = find_runs(runs)
    about = About("Comparison of runs", shlex.join(["vqkit", *sys.argv[1:]]))
    done = write_report(compared, out, about, EvaluationProtocol(limit), choose_device(device), counting)
    if done.failed:
        first = done.failed[0]
        raise CheckpointError(
            f"{len(done.failed)} of {len(compared)} runs cannot be measured; {first.directory}: {first.failure}",
            f"{done.page} shows the others.",
        )
    typer.echo(f"Done: {done.page}")
