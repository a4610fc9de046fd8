"""`vqkit launch slurm`, as typed: what is queued, what is refused, and two processes on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import submitit

from command_runner import command_runner
from vqkit.cli.app import app
from vqkit.data.exporting import export
from vqkit.data.opening import open_dataset
from vqkit.errors import ConfigError, DataError
from vqkit.storage.checkpoints import load_model
from vqkit.storage.code_files import read_codes


def launch(*arguments: str) -> str:
    result = command_runner().invoke(app, ["launch", "slurm", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.stderr
    return result.stdout


class Queue:
    """Stands for a cluster, and keeps what it is given."""

    def __init__(self, folder: Path, cluster: str, **limits: Any) -> None:
        self.made = {"folder": folder, "cluster": cluster, **limits}
        self.parameters: dict[str, Any] = {}
        self.words: list[str] = []
        self.batches = 0
        queues.append(self)

    def update_parameters(self, **parameters: Any) -> None:
        self.parameters = parameters

    @contextmanager
    def batch(self) -> Iterator[None]:
        self.batches += 1
        yield

    def submit(self, command: Any) -> Any:
        self.words.append(" ".join(command.words))
        return SimpleNamespace(job_id=str(len(self.words)), paths=SimpleNamespace(stdout="out", stderr="err"))


queues: list[Queue] = []


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[Queue]:
    queues.clear()
    monkeypatch.setattr(submitit, "AutoExecutor", Queue)
    return queues


def test_a_command_is_queued_with_what_it_needs(queue: list[Queue]) -> None:
    said = launch(
        *("--nodes", "2", "--processes", "8", "--gpus", "8", "--hours", "0.5", "--partition", "gpu", "--sbatch", "account=physics"),
        *("train-vqvae", "--out", "runs/x", "--steps", "5"),
    )
    assert queue[0].words == ["train-vqvae --out runs/x --steps 5"] and queue[0].made["cluster"] == "slurm"
    assert queue[0].parameters == {
        "name": "vqkit-train-vqvae",
        "nodes": 2,
        "tasks_per_node": 8,
        "gpus_per_node": 8,
        "timeout_min": 30,
        "slurm_partition": "gpu",
        "slurm_signal_delay_s": 120,
        "slurm_additional_parameters": {"account": "physics"},
    }
    assert "submitted job 1: its output is out, its errors err" in said


def test_help_is_that_of_the_command(queue: list[Queue]) -> None:
    assert "Usage: vqkit encode" in launch("--shards", "3", "encode", "--help") and queue == []


def test_an_array_has_a_job_for_each_shard(queue: list[Queue]) -> None:
    launch("--shards", "3", "--", "data", "prepare", "x", "--out", "x.safetensors")
    assert queue[0].words == [f"data prepare x --out x.safetensors --shard {number}/3" for number in range(3)]
    assert queue[0].batches == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian", "--out", "x"], "'trian' is no command that vqkit can launch.*train"),
        (["launch", "slurm"], "'launch' is no command"),
        (["train-vqvae", "--steps", "3"], "Name the run directory: train-vqvae --out"),
        (["--shards", "4", "evaluate"], "evaluate has no shards"),
        (["--shards", "4", "--processes", "2", "encode", "x"], "--shards gives each job one process"),
        (["--shards", "4", "encode", "x", "--shard", "0/2"], "--shards gives each job one process"),
        (["--sbatch", "account", "encode", "x"], "--sbatch account cannot be read"),
        (["--here", "--nodes", "2", "encode", "x"], "--here is this machine"),
    ],
)
def test_what_cannot_be_launched_is_refused(queue: list[Queue], arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        launch(*arguments)
    assert not any(each.words for each in queue)


def test_without_a_cluster_or_submitit_there_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"srun was not found.*--here"):
        launch("encode", "x")
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(DataError, match=r"submitit, which is not installed\. pip install 'vqkit\[slurm\]'"):
        launch("encode", "x")


def test_processes_on_this_machine_do_one_command_together(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    export(open_dataset(load_model(tiny_run).data).split("test"), "test", 3, Path("sections"))
    encode = ["encode", "sections", "--run", str(tiny_run)]
    said = launch("--here", "--processes", "2", "--hours", "0.2", "--wait", *encode, "--out", "two.safetensors")
    assert "1 job has ended" in said
    assert command_runner().invoke(app, [*encode, "--out", "one.safetensors"]).exit_code == 0
    assert Path("two.safetensors").read_bytes() == Path("one.safetensors").read_bytes()
    assert len(read_codes(Path("two.safetensors")).names) == 3
    printed = sorted(path.read_text() for path in Path("slurm").glob("*_log.out"))
    assert sum("encoded 3 images to two.safetensors" in text for text in printed) == 1
    with pytest.raises(ConfigError, match=r"The job .* failed"):
        launch("--here", "--wait", "decode", "two.safetensors", "--run", "nowhere")
