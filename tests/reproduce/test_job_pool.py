"""What becomes of a job's process: its words, its end, and the signals that it is sent."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from small_comparison import tiny_preset

from vqkit.config import dump_yaml
from vqkit.data.fingerprints import Fingerprint
from vqkit.errors import ConfigError, Interrupted, TrainingError
from vqkit.reproduce import processes
from vqkit.reproduce.job_pool import exclusive_directory, max_concurrent_jobs, run_jobs
from vqkit.reproduce.planning import Job, is_finished, plan
from vqkit.reproduce.presets import load_preset
from vqkit.reproduce.processes import ProcessTrainer
from vqkit.storage import runs
from vqkit.training.data_identity import write_identity


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return plan(load_preset(tiny_preset(tmp_path)), "tyre", ["vae"], tmp_path, "cpu")[0]


def trainer(folder: Path, threads: int | None = None) -> ProcessTrainer:
    with (folder / "lock").open("w") as file:
        return ProcessTrainer(folder / "logs", os.dup(file.fileno()), threads)


def jobs_of(folder: Path, *models: str) -> list[Job]:
    return plan(load_preset(tiny_preset(folder, seeds=[0])), "tyre", models, folder, "cpu")


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, script: str) -> None:
    """Let this shell script run in the place of Python."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(program))


def test_a_job_is_trained_in_a_process_of_its_own(job: Job, tmp_path: Path) -> None:
    assert not is_finished(job)
    said = list(trainer(tmp_path)(job))
    assert said[0] == "starting"
    assert "4 steps" in " ".join(said)
    assert is_finished(job)
    assert "4 steps" in (tmp_path / "logs" / "vae-seed0.log").read_text()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Error: The sky fell.' >&2; echo 'Hint: Duck.' >&2; exit 2", "The sky fell. Duck."),
        ("echo '  ValueError: no such sky' >&2; exit 1", "ValueError: no such sky."),
        ("exit 3", "Exit code 3."),
        ("kill -KILL $$", "Its process was killed by SIGKILL. It may have run out of memory"),
    ],
)
def test_what_a_process_says_of_its_failure_is_passed_on(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    stand_in(monkeypatch, tmp_path, script)
    with pytest.raises(TrainingError) as caught:
        list(trainer(tmp_path)(job))
    assert str(caught.value).startswith(said)


def test_threads_are_shared_out(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, tmp_path, f'echo "$OMP_NUM_THREADS" > {tmp_path}/threads')
    list(trainer(tmp_path, 3)(job))
    assert (tmp_path / "threads").read_text() == "3\n"


def test_a_signal_is_passed_on_once_to_all_and_they_may_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        f"trap 'echo asked >> {tmp_path}/asked$$; done=yes' INT; touch {tmp_path}/ready$$; "
        'while [ -z "$done" ]; do sleep 0.02; done; exit 130'
    )
    stand_in(monkeypatch, tmp_path, script)

    def interrupt() -> None:
        while len(list(tmp_path.glob("ready*"))) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="run the same command again"):
        run_jobs(jobs_of(tmp_path, "vae", "vqvae", "autoencoder"), trainer(tmp_path), Console(quiet=True), at_once=2)
    assert [file.read_text() for file in tmp_path.glob("asked*")] == ["asked\n"] * 2
    assert not (tmp_path / "logs" / "autoencoder-seed0.log").exists()
    assert signal.getsignal(signal.SIGINT) is before


def test_jobs_are_under_way_together_and_as_many_as_asked_for(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, "vae", "vqvae", "autoencoder", "treevi")
    events: list[str] = []

    def train(job: Job) -> Iterator[str]:
        events.append(f"+{job.name}")
        yield "one"
        yield "two"
        if job.name == "vqvae":
            raise TrainingError("No sky.")
        events.append(f"-{job.name}")

    failures = run_jobs(jobs, train, Console(quiet=True), at_once=2)
    assert events == ["+vae", "+vqvae", "-vae", "+autoencoder", "+treevi", "-autoencoder", "-treevi"]
    assert failures == {jobs[1].run: "No sky."}


def test_a_model_waits_for_its_encoder_and_fails_with_it(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, "vae+simclr", "vae", "vae+byol")
    events: list[str] = []

    def train(job: Job) -> Iterator[str]:
        yield "one"
        if job.name == "vae+byol encoder":
            raise TrainingError("No sky.")
        events.append(job.name)

    assert [job.name for job in jobs] == ["vae+simclr encoder", "vae+simclr", "vae", "vae+byol encoder", "vae+byol"]
    failures = run_jobs(jobs, train, Console(quiet=True), at_once=4)
    assert events == ["vae+simclr encoder", "vae", "vae+simclr"]
    assert failures == {jobs[3].run: "No sky.", jobs[4].run: "Its encoder could not be pretrained: No sky."}


def test_a_job_that_was_stopped_by_somebody_else_stops_the_others(tmp_path: Path) -> None:
    stopped: list[str] = []

    def train(job: Job) -> Iterator[str]:
        yield "one"
        if job.name == "vae":
            raise Interrupted
        try:
            while True:
                yield "on and on"
        except Interrupted:
            stopped.append(job.name)
            raise

    with pytest.raises(Interrupted):
        run_jobs(jobs_of(tmp_path, "vae", "vqvae", "treevi"), train, Console(quiet=True), at_once=2)
    assert stopped == ["vqvae"]


def test_a_gpu_has_one_job_and_cores_have_one_each_as_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.reproduce.job_pool.usable_cpus", lambda: 4)
    monkeypatch.setattr("vqkit.core.memory.free_bytes", lambda device: 2**36)
    assert max_concurrent_jobs(torch.device("cpu")) == 4
    assert max_concurrent_jobs(torch.device("cuda")) == 1
    monkeypatch.setattr("vqkit.core.memory.free_bytes", lambda device: 5 * 2**30)
    assert max_concurrent_jobs(torch.device("cpu")) == 2


def test_two_may_not_work_in_one_place(tmp_path: Path) -> None:
    with (
        exclusive_directory(tmp_path),
        pytest.raises(ConfigError, match="Another vqkit reproduce is running"),
        exclusive_directory(tmp_path),
    ):
        pass
    with exclusive_directory(tmp_path) as lock:
        child = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock,))
    try:  # our process no longer holds the lock, but one that we started does
        with pytest.raises(ConfigError, match="Another vqkit reproduce"), exclusive_directory(tmp_path):
            pass
    finally:
        child.communicate(b"\n")
    with exclusive_directory(tmp_path) as lock:
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


def test_what_a_run_found_out_by_itself_is_no_other_setting(job: Job) -> None:
    asked = job.config.training.model_dump(exclude_unset=True, exclude={"batch_size"})
    wanted = job.config.model_copy(update={"training": type(job.config.training)(**asked)})
    found = wanted.training.model_copy(update={"batch_size": 20, "threads": 3})  # of a set of 20 images, on another machine
    folder = runs.checkpoint_directory(job.run, 4)
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    (job.run / "run.yaml").write_text(dump_yaml(wanted.model_copy(update={"training": found})))
    write_identity(job.run, {"train": Fingerprint(20, "", ""), "val": Fingerprint(4, "", "")})
    assert is_finished(job._replace(config=wanted))
