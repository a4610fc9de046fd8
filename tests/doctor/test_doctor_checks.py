"""Checks in general, of the machine, and of what a run wrote down."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vqkit.core.precision import autocast
from vqkit.doctor import machine, records
from vqkit.doctor.checks import Check, Finding, Verdict, failed, is_healthy, ok, run_checks, skipped, warning
from vqkit.errors import ConfigError, DataError

CPU = torch.device("cpu")


def raising(error: Exception) -> Callable[[], Verdict]:
    def check() -> Verdict:
        raise error

    return check


def found(function: Callable[[], Verdict]) -> Finding:
    (finding,) = run_checks([Check("it", function)])
    return finding


def test_whatever_goes_wrong_in_a_check_is_its_finding() -> None:
    assert found(raising(DataError("The file is empty.", "Use another.")))[:3] == (
        "it",
        "failed",
        "The file is empty. Use another.",
    )
    assert found(raising(ValueError("first line\nsecond")))[:3] == ("it", "failed", "ValueError: first line")
    assert found(raising(AssertionError()))[:3] == ("it", "failed", "AssertionError: no reason given")


def test_an_interruption_is_no_finding() -> None:
    def interrupted() -> Verdict:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(interrupted)


def test_what_needs_a_failed_check_is_skipped() -> None:
    called: list[str] = []

    def third() -> Verdict:
        called.append("third")
        return ok("")

    checks = [Check("one", lambda: ok("fine"), True), Check("two", lambda: failed("broken"), True), Check("three", third)]
    statuses = [(finding.status, finding.found) for finding in run_checks(checks)]
    assert statuses == [("ok", "fine"), ("failed", "broken"), ("skipped", "not possible while 'two' fails")]
    assert called == []
    assert [finding.status for finding in run_checks([checks[1]._replace(essential=False), checks[2]])] == ["failed", "ok"]


def test_only_failures_are_unhealthy() -> None:
    mild = [found(lambda: ok("")), found(lambda: warning("")), found(lambda: skipped(""))]
    assert is_healthy(mild)
    assert not is_healthy([*mild, found(lambda: failed(""))])


def test_packages_that_are_not_installed_are_named() -> None:
    assert machine.packages(["torch>=2.6", "no-such-package-1>=2", "other; extra == 'dev'"]) == failed(
        "not installed: no-such-package-1. Install them with: pip install no-such-package-1"
    )
    assert machine.packages().status == "ok"
    assert f"torch {torch.__version__}" in machine.packages().found


def test_wrong_arithmetic_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.arithmetic(CPU).status == "ok"
    monkeypatch.setattr(machine, "autocast", lambda precision, device: autocast("bf16", device))
    verdict = machine.arithmetic(CPU)
    assert verdict.status == "failed"
    assert "a float32 matrix product is wrong by" in verdict.found


def test_bfloat16_is_judged_by_its_own_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.bfloat16(CPU).status == "ok"
    monkeypatch.setattr(machine, "bf16_is_fast", lambda device: True)
    assert "auto is bf16" in machine.bfloat16(CPU).found
    monkeypatch.setattr(machine, "bf16_is_fast", lambda device: False)
    assert "auto is fp32" in machine.bfloat16(CPU).found
    monkeypatch.setattr(machine, "BF16_TOLERANCE", machine.PRODUCT_TOLERANCE)
    assert machine.bfloat16(CPU).status == "failed"


def test_more_threads_than_cores_are_a_warning() -> None:
    assert machine.threads(2, 2).status == "ok"
    assert machine.threads(8, 2) == warning("8 threads on 2 cores wait for each other. Set OMP_NUM_THREADS=2.")


def test_a_torchvision_that_does_not_fit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(machine.torchvision).status == "ok"
    monkeypatch.setattr(machine, "import_torchvision", raising(ConfigError("It does not fit.", "Install another.")))
    assert found(machine.torchvision)[1:3] == ("failed", "It does not fit. Install another.")


def test_a_disk_is_tried_and_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.disk(tmp_path).found.startswith(f"{tmp_path.resolve()}: writable")
    assert [*tmp_path.iterdir()] == []
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**29))
    assert machine.disk(tmp_path).status == "warning"
    assert "0.5 GiB free" in machine.disk(tmp_path).found
    (tmp_path / "file").write_text("")
    finding = found(lambda: machine.disk(tmp_path / "file"))
    assert (finding.status, finding.found.split(":")[0]) == ("failed", "FileExistsError")


def metrics(run: Path, *rows: dict[str, object]) -> Path:
    (run / "metrics.jsonl").write_text("".join(json.dumps({"step": step, **row}) + "\n" for step, row in enumerate(rows)))
    return run


def test_losses_must_be_numbers(tmp_path: Path) -> None:
    assert records.losses(tmp_path).status == "skipped"
    assert records.losses(metrics(tmp_path, {"train/loss": 1.5}, {"train/loss": 1.25, "val/loss": 2})) == ok(
        "all figures of 2 rows are finite, to step 1"
    )
    for lost in (None, float("nan"), float("inf")):
        verdict = records.losses(metrics(tmp_path, {"train/loss": 1.5}, {"train/loss": lost}))
        assert verdict == failed("train/loss at step 1 is no finite number. Train again with a lower --lr.")


def test_steps_that_were_left_out_are_a_warning(tmp_path: Path) -> None:
    verdict = records.losses(metrics(tmp_path, {"train/skipped_steps": 0}, {"train/skipped_steps": 3}))
    assert verdict.status == "warning"
    assert "but 3 training steps were left out" in verdict.found


@pytest.mark.parametrize("line", ['{"step": 1, "train/lo', "[1, 2]", '{"train/loss": 1}', '{"step": 1, "train/loss": "low"}'])
def test_a_line_that_is_no_row_fails(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 0}}\n{line}\n')
    finding = found(lambda: records.losses(tmp_path))
    assert finding.status == "failed"
    assert finding.found.startswith(f"Line 2 of {tmp_path / 'metrics.jsonl'} is no row of figures.")


def epochs(run: Path, *losses: tuple[float, float]) -> Verdict:
    return records.overfitting(metrics(run, *({"train/loss": train, "val/loss": held_out} for train, held_out in losses)))


def test_overfitting_is_a_held_out_loss_that_rises_while_the_other_falls(tmp_path: Path) -> None:
    assert records.overfitting(tmp_path).status == "skipped"
    assert epochs(tmp_path, (3, 3.1)).status == "skipped"
    assert epochs(tmp_path, (3, 3.1), (2, 2.5), (1.5, 2.4)).status == "ok"
    assert epochs(tmp_path, (3, 3.1), (2, 2.5), (1.5, 2.54)).status == "ok"
    assert epochs(tmp_path, (3, 3.1), (2, 2.5), (2.5, 3.0)).status == "ok"
    verdict = epochs(tmp_path, (3, 3.1), (2, 2.5), (1, 3.0))
    assert verdict.status == "warning"
    assert "held-out loss 3, training loss 1 (gap 2); it was least, 2.5, at step 1" in verdict.found
