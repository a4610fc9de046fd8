"""`vqkit doctor`: self-tests of the installation, or of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli.parameters import DeviceOption, JsonOption
from vqkit.cli.sample import TokenizerOption

if TYPE_CHECKING:
    from rich.text import Text

    from vqkit.doctor.checks import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}


def doctor(
    run: Annotated[
        str | None,
        typer.Option(
            "--run", "-r", help="A run of train-vqvae or train-prior to examine. Default: the installation, with small models."
        ),
    ] = None,
    tokenizer: TokenizerOption = None,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Check that everything works on this machine, or that a run is sound: a line for each check.

    Exit code 1 when a check failed. Warnings do not count. docs/doctor.md explains every check.
    """
    import json

    from vqkit.core.precision import choose_device
    from vqkit.doctor import built_in, trained
    from vqkit.doctor.checks import is_healthy, run_checks
    from vqkit.errors import ConfigError

    if run is None and tokenizer is not None:
        raise ConfigError("--tokenizer belongs to a prior, and there is no --run.", "Name the prior's run with --run.")
    chosen = choose_device(device)
    checks = built_in.build_checks(chosen) if run is None else trained.build_checks(run, tokenizer, chosen)
    findings: list[Finding] = []
    if as_json:
        findings += run_checks(checks)
        typer.echo(json.dumps(_content(run, findings), indent=2))
    else:
        from rich.console import Console

        console = Console()
        width = max(len(check.name) for check in checks)
        for finding in run_checks(checks):
            findings.append(finding)
            console.print(_line(finding, width), soft_wrap=True)
        typer.echo(_summary(findings))
    if not is_healthy(findings):
        raise typer.Exit(1)


def _line(finding: Finding, width: int) -> Text:
    """One finding: in colour on a terminal, plain where the output goes elsewhere."""
    from rich.text import Text

    return Text.assemble((f"{finding.status:<8}", _COLOURS[finding.status]), f"{finding.name:<{width}}  ", finding.found)


def _content(run: str | None, findings: list[Finding]) -> dict[str, object]:
    from vqkit.doctor.checks import is_healthy

    checks = [{**finding._asdict(), "seconds": round(finding.seconds, 3)} for finding in findings]
    return {"run": run, "healthy": is_healthy(findings), "checks": checks}


def _summary(findings: list[Finding]) -> str:
    """How many checks came to what."""
    counts = {status: sum(finding.status == status for finding in findings) for status in _COLOURS}
    seconds = sum(finding.seconds for finding in findings)
    figures = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{len(findings)} checks in {seconds:.0f} s: {figures}"
