"""What becomes of a job's process: its words, its end, and the signals that it is sent."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from small_comparison import tiny_preset

from vqkit import runs
from vqkit.config import dump_yaml
from vqkit.errors import ConfigError, Interrupted, TrainingError
from vqkit.reproduce import working
from vqkit.reproduce.planning import Job, is_finished, plan
from vqkit.reproduce.presets import load_preset
from vqkit.reproduce.working import ProcessTrainer, working_alone


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return plan(load_preset(tiny_preset(tmp_path)), "tyre", ["vae"], tmp_path, "cpu")[0]


def trainer(folder: Path) -> ProcessTrainer:
    with (folder / "lock").open("w") as file:
        return ProcessTrainer(folder / "logs", Console(quiet=True), os.dup(file.fileno()))


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Let this shell script run in the place of Python."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(working.sys, "executable", str(program))


def test_a_job_is_trained_in_a_process_of_its_own(job: Job, tmp_path: Path) -> None:
    assert not is_finished(job)
    trainer(tmp_path)(job)
    assert is_finished(job)
    assert "4 steps" in (tmp_path / "logs" / "vae-seed0.log").read_text()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Error: The sky fell.' >&2; echo 'Hint: Duck.' >&2; exit 2", "The sky fell. Duck."),
        ("echo '  ValueError: no such sky' >&2; exit 1", "ValueError: no such sky."),
        ("exit 3", "Exit code 3."),
        ("kill -KILL $$", "Its process was ended by SIGKILL. It may have run out of memory"),
    ],
)
def test_what_a_process_says_of_its_failure_is_passed_on(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    stand_in(monkeypatch, tmp_path, script)
    with pytest.raises(TrainingError) as caught:
        trainer(tmp_path)(job)
    assert str(caught.value).startswith(said)


def test_a_signal_is_passed_on_once_and_the_process_may_finish(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = tmp_path / "saved"
    script = f"trap 'echo asked >> {saved}' INT; touch {tmp_path}/ready; while [ ! -s {saved} ]; do sleep 0.02; done; exit 130"
    stand_in(monkeypatch, tmp_path, script)

    def interrupt() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="Stopped while training vae, seed 0; type the same command again"):
        trainer(tmp_path)(job)
    assert saved.read_text() == "asked\n"
    assert signal.getsignal(signal.SIGINT) is before


def test_two_may_not_work_in_one_place(tmp_path: Path) -> None:
    with working_alone(tmp_path), pytest.raises(ConfigError, match="Another vqkit reproduce is at work"), working_alone(tmp_path):
        pass
    with working_alone(tmp_path) as lock:
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    try:  # our process no longer holds the lock, but one that we started does
        with pytest.raises(ConfigError, match="Another vqkit reproduce"), working_alone(tmp_path):
            pass
    finally:
        child.communicate(b"\n")
    with working_alone(tmp_path) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_job_is_finished_at_its_last_step_and_with_its_settings(job: Job) -> None:
    job.run.mkdir(parents=True)
    (job.run / "run.yaml").write_text(dump_yaml(job.config))
    assert not is_finished(job)
    for step in (3, 4):
        folder = runs.checkpoint_directory(job.run, step)
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
        assert is_finished(job) is (step == 4)
    training = job.config.training.model_copy(update={"batch_size": 3})
    with pytest.raises(ConfigError, match=r"trained with other settings: training differ"):
        is_finished(job._replace(config=job.config.model_copy(update={"training": training})))
