"""`vqkit doctor`: one line per check, and an exit code for scripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from vqkit.cli.doctor import doctor
from vqkit.doctor import built_in
from vqkit.doctor.checks import Check, Outcome, failed, ok, skipped, warning
from vqkit.errors import CheckpointError, ConfigError
from vqkit.storage.runs import locate

app = typer.Typer()
app.command("doctor")(doctor)
LONG = "a long message " * 30


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def installed(monkeypatch: pytest.MonkeyPatch, **outcomes: Outcome) -> None:
    """Replace the checks of the installation."""
    checks = [Check(name, lambda outcome=outcome: outcome) for name, outcome in outcomes.items()]
    monkeypatch.setattr(built_in, "build_checks", lambda device: checks)


def test_a_line_for_each_check_and_a_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, disk=ok("[fine]"), threads=warning("many"), torchvision=skipped(LONG.strip()))
    result = run()
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "ok      disk         [fine]",
        "warning threads      many",
        f"skipped torchvision  {LONG.strip()}",
        "3 checks in 0 s: 1 ok, 1 warning, 1 skipped",
    ]


def test_a_failure_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, disk=ok("fine"), threads=failed("none"))
    result = run()
    assert result.exit_code == 1
    assert result.stdout.splitlines()[1:] == ["failed  threads  none", "2 checks in 0 s: 1 ok, 1 failed"]


@pytest.mark.parametrize(("outcome", "code"), [(ok("fine"), 0), (failed("none"), 1)])
def test_json_is_one_object_and_nothing_else(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, code: int) -> None:
    installed(monkeypatch, disk=outcome)
    result = run("--json")
    assert result.exit_code == code
    content = json.loads(result.stdout)
    assert content["checks"][0].pop("seconds") < 1
    assert content == {
        "run": None,
        "healthy": code == 0,
        "checks": [{"name": "disk", "status": outcome.status, "message": outcome.message}],
    }


def test_a_run_is_checked(tiny_run: Path) -> None:
    result = run("--run", tiny_run)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.stdout
    assert [line[8:].split("  ")[0] for line in lines[:3]] == ["losses", "file", "specification"]
    assert lines[-1].startswith("9 checks in ")


def test_a_broken_run_fails(tiny_run: Path, tmp_path: Path) -> None:
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(locate(tiny_run).read_bytes()[:-1])
    result = run("--run", broken)
    assert result.exit_code == 1
    assert f"failed  file             {broken} cannot be read" in result.stdout
    assert "Traceback" not in result.output


def test_wrong_arguments_are_errors_and_not_failed_checks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no run at"):
        run("--run", tmp_path / "nothing")
    with pytest.raises(ConfigError, match="--tokenizer applies to a prior"):
        run("--tokenizer", tmp_path)
    with pytest.raises(ConfigError, match="There is no device 'tpu'"):
        run("--device", "tpu")
