"""What a killed process leaves behind is in order again when the run is resumed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from small_runs import tiny
from vqkit.errors import ConfigError
from vqkit.storage import runs
from vqkit.storage.claims import claimed
from vqkit.training.recovery import prune, recover
from vqkit.training.run import train
from vqkit.training.run_progress import STATE_FILE, Progress, write_progress
from vqkit.training.trainer import Trainer

_NO_PROCESS = 2**22 + 1
"""More than the numbers of processes that Linux gives."""


def checkpoint(run: Path, step: int, best: float) -> Path:
    path = runs.checkpoint_directory(run, step)
    path.mkdir(parents=True)
    (path / runs.MODEL_FILE).touch()
    write_progress(path / STATE_FILE, Progress(step=step, best=best))
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Four checkpoints, of which the second is the best so far, and so is the last; killed before the pointers of the last."""
    for step, best in ((10, 3.0), (20, 2.0), (30, 2.0), (40, 1.0)):
        checkpoint(tmp_path, step, best)
    runs.write_pointer(tmp_path / "latest", "checkpoints/step-00000030")
    runs.write_pointer(tmp_path / "best", "checkpoints/step-00000020")
    return tmp_path


def pointers(run: Path) -> tuple[str | None, str | None]:
    return runs.read_pointer(run / "latest"), runs.read_pointer(run / "best")


def test_pointers_that_are_behind_are_brought_up_to_date(run: Path) -> None:
    recover(run, keep=9)
    assert pointers(run) == ("checkpoints/step-00000040", "checkpoints/step-00000040")


def test_pointers_that_are_right_stay(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "step-00000040")
    recover(run, keep=9)
    assert pointers(run) == ("checkpoints/step-00000030", "checkpoints/step-00000020")


def test_missing_pointers_name_the_newest_and_the_first_of_the_best(run: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "step-00000040")
    for name in ("latest", "best"):
        (run / name).unlink()
    recover(run, keep=9)
    assert pointers(run) == ("checkpoints/step-00000030", "checkpoints/step-00000020")


@pytest.mark.parametrize("best", [float("inf"), float("nan")])
def test_a_run_that_has_no_best_gets_none(tmp_path: Path, best: float) -> None:
    checkpoint(tmp_path, 10, best)
    recover(tmp_path, keep=9)
    assert pointers(tmp_path) == ("checkpoints/step-00000010", None)


def test_a_best_checkpoint_that_someone_chose_stays(run: Path) -> None:
    chosen = run / "checkpoints" / "reset-step-00000020"
    chosen.mkdir()
    (chosen / runs.MODEL_FILE).touch()
    runs.write_pointer(run / "best", "checkpoints/reset-step-00000020")
    recover(run, keep=9)
    assert pointers(run)[1] == "checkpoints/reset-step-00000020"


def test_what_was_not_finished_is_removed(run: Path) -> None:
    folder = run / "checkpoints"
    for name in (f".step-00000050.{_NO_PROCESS}.partial", f".step-00000060.{os.getppid()}.partial", "step-00000005"):
        (folder / name).mkdir()
        (folder / name / STATE_FILE).touch()
    (run / f".metrics.{_NO_PROCESS}.partial.jsonl").touch()
    (run / f".errors.{os.getppid()}.partial.json").touch()
    recover(run, keep=9)
    assert [path.name for path in sorted(folder.iterdir())] == [f"step-000000{step}0" for step in (1, 2, 3, 4)]
    assert [path.name for path in run.glob(".*")] == [f".errors.{os.getppid()}.partial.json"], "its process may be writing it"


def test_pruning_leaves_the_newest_the_best_and_nothing_unfinished(run: Path) -> None:
    (run / "checkpoints" / f".step-00000050.{_NO_PROCESS}.partial").mkdir()
    (run / "checkpoints" / "step-00000001").mkdir()
    prune(run, keep=1)
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000020", "step-00000040"]


def test_a_kill_before_old_checkpoints_are_removed(run: Path) -> None:
    recover(run, keep=1)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000040"]
    recover(run, keep=1)
    assert pointers(run) == ("checkpoints/step-00000040", "checkpoints/step-00000040")


def test_a_finished_run_is_brought_in_order_by_resuming_it(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    run = tmp_path / "run"
    right = pointers(run)
    assert right == ("checkpoints/step-00000020", "checkpoints/step-00000020")
    for name in ("latest", "best"):
        runs.write_pointer(run / name, "checkpoints/step-00000010")
    train(None, {}, [], None, str(run))
    assert pointers(run) == right


def test_a_kill_before_the_first_checkpoint_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: object) -> None:
        (tmp_path / "run" / "images").mkdir()
        (tmp_path / "run" / "images" / f".a.{_NO_PROCESS}.partial.png").touch()
        raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(Trainer, "_train_step", stop)
        train(None, tiny(steps=2), [], tmp_path / "run", "auto")
    train(None, tiny(steps=2), [], tmp_path / "run", "auto")
    assert not list((tmp_path / "run").rglob(".*.partial*"))


def test_a_run_in_use_is_refused_before_anything_changes(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "run")
    run = tmp_path / "run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    with claimed(run), pytest.raises(ConfigError, match="in use by process"):
        train(None, tiny(), [], run, "auto")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != ".lock"} == {
        path: time for path, time in before.items() if path.name != ".lock"
    }
