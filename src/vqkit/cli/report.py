"""`vqkit report`: a page that compares runs which are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqkit.cli.evaluate import LimitOption
from vqkit.cli.parameters import DeviceOption


def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs of train-vqvae, all of one data set.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory to write to.")] = Path("reports/runs"),
    limit: LimitOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare runs on the same held-out images: a page that needs no other file, results.csv, and figures for papers.

    Runs that differ by their seed alone are one row, with mean and deviation.
    """
    import shlex
    import sys

    from vqkit.cli.counting import counting
    from vqkit.core.precision import choose_device
    from vqkit.errors import CheckpointError
    from vqkit.report.measuring import EvaluationProtocol
    from vqkit.report.page import About
    from vqkit.report.subjects import find_subjects
    from vqkit.report.writing import write_report

    subjects = find_subjects(runs)
    about = About("How these runs compare", shlex.join(["vqkit", *sys.argv[1:]]))
    done = write_report(subjects, out, about, EvaluationProtocol(limit), choose_device(device), counting)
    if done.failed:
        first = done.failed[0]
        raise CheckpointError(
            f"{len(done.failed)} of {len(subjects)} runs cannot be measured; {first.run}: {first.failure}",
            f"{done.page} shows the others.",
        )
    typer.echo(f"Done: {done.page}")
