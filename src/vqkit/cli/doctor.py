"""`vqkit doctor`: self-tests of the installation, or of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli import panels
from vqkit.cli.parameters import DeviceOption, JsonOption, TokenizerOption

if TYPE_CHECKING:
    from rich.text import Text

    from vqkit.doctor.checks import CheckResult

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def doctor(
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            "-r",
            help="A run of train-vqvae or train-prior to check. Default: check the installation, with small untrained models.",
            rich_help_panel=panels.MODEL,
        ),
    ] = None,
    tokenizer: TokenizerOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check the installation on this machine, or a run, and print one line per check.

    The exit code is 1 if a check failed; warnings do not count. docs/doctor.md explains every check.
    """
    import json

    from vqkit.core.precision import choose_device
    from vqkit.doctor import built_in, trained
    from vqkit.doctor.checks import is_healthy, run_checks
    from vqkit.errors import ConfigError

    if run is None and tokenizer is not None:
        raise ConfigError("--tokenizer applies to a prior, and --run is missing.", "Give the run of the prior with --run.")
    chosen = choose_device(device)
    checks = built_in.build_checks(chosen) if run is None else trained.build_checks(run, tokenizer, chosen)
    results: list[CheckResult] = []
    if as_json:
        results += run_checks(checks)
        typer.echo(json.dumps(_content(run, results), indent=2))
    else:
        from rich.console import Console

        console = Console()
        width = max(len(check.name) for check in checks)
        for result in run_checks(checks):
            results.append(result)
            console.print(_line(result, width), soft_wrap=True)
        typer.echo(_summary(results))
    if not is_healthy(results):
        raise typer.Exit(1)


def _line(result: CheckResult, width: int) -> Text:
    """One result as a line, in colour on a terminal."""
    from rich.text import Text

    return Text.assemble((f"{result.status:<8}", _COLOURS[result.status]), f"{result.name:<{width}}  ", result.message)


def _content(run: str | None, results: list[CheckResult]) -> dict[str, object]:
    from vqkit.doctor.checks import is_healthy

    checks = [{**result._asdict(), "seconds": round(result.seconds, 3)} for result in results]
    return {"run": run, "healthy": is_healthy(results), "checks": checks}


def _summary(results: list[CheckResult]) -> str:
    """Number of checks by status, and their total duration."""
    counts = {status: sum(result.status == status for result in results) for status in _COLOURS}
    seconds = sum(result.seconds for result in results)
    numbers = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{len(results)} checks in {seconds:.0f} s: {numbers}"
