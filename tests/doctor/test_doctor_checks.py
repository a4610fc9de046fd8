"""How checks are run, the checks of the machine, and those of recorded metrics."""

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
from vqkit.doctor.checks import Check, CheckResult, Outcome, failed, is_healthy, ok, run_checks, skipped, warning
from vqkit.errors import ConfigError, DataError

CPU = torch.device("cpu")


def raising(error: Exception) -> Callable[[], Outcome]:
    def check() -> Outcome:
        raise error

    return check


def run_one(function: Callable[[], Outcome]) -> CheckResult:
    (result,) = run_checks([Check("it", function)])
    return result


def test_an_exception_in_a_check_is_its_failure() -> None:
    assert run_one(raising(DataError("The file is empty.", "Use another.")))[:3] == (
        "it",
        "failed",
        "The file is empty. Use another.",
    )
    assert run_one(raising(ValueError("first line\nsecond")))[:3] == ("it", "failed", "ValueError: first line")
    assert run_one(raising(AssertionError()))[:3] == ("it", "failed", "AssertionError: no message")


def test_an_interruption_is_not_a_failure() -> None:
    def interrupted() -> Outcome:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_one(interrupted)


def test_checks_after_a_failed_required_one_are_skipped() -> None:
    called: list[str] = []

    def third() -> Outcome:
        called.append("third")
        return ok("")

    checks = [Check("one", lambda: ok("fine"), True), Check("two", lambda: failed("broken"), True), Check("three", third)]
    statuses = [(result.status, result.message) for result in run_checks(checks)]
    assert statuses == [("ok", "fine"), ("failed", "broken"), ("skipped", "needs the check 'two', which failed")]
    assert called == []
    assert [result.status for result in run_checks([checks[1]._replace(required=False), checks[2]])] == ["failed", "ok"]


def test_only_failures_are_unhealthy() -> None:
    mild = [run_one(lambda: ok("")), run_one(lambda: warning("")), run_one(lambda: skipped(""))]
    assert is_healthy(mild)
    assert not is_healthy([*mild, run_one(lambda: failed(""))])


def test_packages_that_are_not_installed_are_named() -> None:
    assert machine.packages(["torch>=2.6", "no-such-package-1>=2", "other; extra == 'dev'"]) == failed(
        "not installed: no-such-package-1. Install them with: pip install no-such-package-1"
    )
    assert machine.packages().status == "ok"
    assert f"torch {torch.__version__}" in machine.packages().message


def test_wrong_arithmetic_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.arithmetic(CPU).status == "ok"
    monkeypatch.setattr(machine, "autocast", lambda precision, device: autocast("bf16", device))
    outcome = machine.arithmetic(CPU)
    assert outcome.status == "failed"
    assert "a float32 matrix product is wrong by" in outcome.message


def test_bfloat16_is_judged_by_its_own_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.bfloat16(CPU).status == "ok"
    monkeypatch.setattr(machine, "bf16_is_fast", lambda device: True)
    assert "auto is bf16" in machine.bfloat16(CPU).message
    monkeypatch.setattr(machine, "bf16_is_fast", lambda device: False)
    assert "auto is fp32" in machine.bfloat16(CPU).message
    monkeypatch.setattr(machine, "BF16_TOLERANCE", machine.PRODUCT_TOLERANCE)
    assert machine.bfloat16(CPU).status == "failed"


def test_more_threads_than_cores_are_a_warning() -> None:
    assert machine.threads(2, 2).status == "ok"
    assert machine.threads(8, 2) == warning("8 threads on 2 cores slow each other down. Set OMP_NUM_THREADS=2.")


def test_a_torchvision_that_does_not_fit_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_one(machine.torchvision).status == "ok"
    monkeypatch.setattr(machine, "import_torchvision", raising(ConfigError("It does not fit.", "Install another.")))
    assert run_one(machine.torchvision)[1:3] == ("failed", "It does not fit. Install another.")


def test_a_disk_is_tried_and_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.disk(tmp_path).message.startswith(f"{tmp_path.resolve()}: writable")
    assert [*tmp_path.iterdir()] == []
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**29))
    assert machine.disk(tmp_path).status == "warning"
    assert "0.5 GiB free" in machine.disk(tmp_path).message
    (tmp_path / "file").write_text("")
    result = run_one(lambda: machine.disk(tmp_path / "file"))
    assert (result.status, result.message.split(":")[0]) == ("failed", "FileExistsError")


def metrics(run: Path, *rows: dict[str, object]) -> Path:
    (run / "metrics.jsonl").write_text("".join(json.dumps({"step": step, **row}) + "\n" for step, row in enumerate(rows)))
    return run


def test_losses_must_be_numbers(tmp_path: Path) -> None:
    assert records.losses(tmp_path).status == "skipped"
    assert records.losses(metrics(tmp_path, {"train/loss": 1.5}, {"train/loss": 1.25, "val/loss": 2})) == ok(
        "all metrics of 2 rows are finite, up to step 1"
    )
    for lost in (None, float("nan"), float("inf")):
        outcome = records.losses(metrics(tmp_path, {"train/loss": 1.5}, {"train/loss": lost}))
        assert outcome == failed("train/loss at step 1 is not finite. Train again with a lower --lr.")


def test_skipped_steps_are_a_warning(tmp_path: Path) -> None:
    outcome = records.losses(metrics(tmp_path, {"train/skipped_steps": 0}, {"train/skipped_steps": 3}))
    assert outcome.status == "warning"
    assert "but 3 training steps were skipped" in outcome.message


@pytest.mark.parametrize("line", ['{"step": 1, "train/lo', "[1, 2]", '{"train/loss": 1}', '{"step": 1, "train/loss": "low"}'])
def test_a_line_that_is_no_row_fails(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 0}}\n{line}\n')
    result = run_one(lambda: records.losses(tmp_path))
    assert result.status == "failed"
    assert result.message.startswith(f"Line 2 of {tmp_path / 'metrics.jsonl'} is not a row of metrics.")


def epochs(run: Path, *losses: tuple[float, float]) -> Outcome:
    return records.overfitting(
        metrics(run, *({"train/loss": train, "val/loss": held_out_images} for train, held_out_images in losses))
    )


def test_overfitting_is_a_held_out_loss_that_rises_while_the_other_falls(tmp_path: Path) -> None:
    assert records.overfitting(tmp_path).status == "skipped"
    assert epochs(tmp_path, (3, 3.1)).status == "skipped"
    assert epochs(tmp_path, (3, 3.1), (2, 2.5), (1.5, 2.4)).status == "ok"
    assert epochs(tmp_path, (3, 3.1), (2, 2.5), (1.5, 2.54)).status == "ok"
    assert epochs(tmp_path, (3, 3.1), (2, 2.5), (2.5, 3.0)).status == "ok"
    outcome = epochs(tmp_path, (3, 3.1), (2, 2.5), (1, 3.0))
    assert outcome.status == "warning"
    assert "held-out loss 3, training loss 1 (gap 2); its minimum was 2.5, at step 1" in outcome.message
