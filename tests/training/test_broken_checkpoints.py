"""What is wrong with a checkpoint is said when a run is resumed, whichever of its files was changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, safe_open, save_file

from vqkit.errors import CheckpointError
from vqkit.storage import runs
from vqkit.storage.headers import sealed
from vqkit.training import train
from vqkit.training.tracking import Recorder


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A run of its own, free to be broken."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def newest(run: Path) -> Path:
    return runs.checkpoints(run)[-1]


def resume(run: Path) -> None:
    train(None, {}, [], None, str(run))


def refused(run: Path, match: str) -> None:
    with pytest.raises(CheckpointError, match=match) as error:
        resume(run)
    assert error.value.hint


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_a_flipped_bit_is_noticed(run: Path, name: str) -> None:
    file = newest(run) / name
    content = bytearray(file.read_bytes())
    content[-50] ^= 4
    file.write_bytes(content)
    refused(run, f"{name} was changed after it was written: its tensors")


def test_an_edited_state_is_noticed(run: Path) -> None:
    file = newest(run) / "training.safetensors"
    save_file(load_file(file), file, {"vqkit": json.dumps({"format": 2, "kind": "training", "step": 20, "best": 0.0})})
    refused(run, "training.safetensors was changed after it was written: its header")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"null",
        b"[" * 10_000,
        b'{"step": 20}',
        b'{"step": "20", "best": 1.0, "version": 1}',
        b'{"step": 20.5, "best": 1.0, "version": 1}',
        b'{"step": -1, "best": 1.0, "version": 1}',
        b'{"step": true, "best": 1.0, "version": 1}',
        b'{"step": 20, "best": null, "version": 1}',
        b'{"step": 20, "best": [1], "version": 1}',
        b'{"step": 20, "best": 1.0, "version": 7}',
        b'{"step": 19, "best": 1.0, "version": 1}',
        b'{"step": 20, "best": -5.0, "version": 1}',
        b'{"step": 99999999999999999999999999, "best": 1.0, "version": 1}',
    ],
)
def test_a_wrong_training_json_is_refused(run: Path, content: bytes) -> None:
    (newest(run) / "training.json").write_bytes(content)
    refused(run, r"training\.json")


def test_a_missing_training_json_is_refused(run: Path) -> None:
    (newest(run) / "training.json").unlink()
    refused(run, "missing or broken")


@pytest.mark.parametrize("lacking", ["skipped", "recent.steps", "all"])
def test_a_state_of_another_run_is_refused(run: Path, lacking: str) -> None:
    file = newest(run) / "training.safetensors"
    with safe_open(file, "pt") as opened:
        header: dict[str, Any] = json.loads(opened.metadata()["vqkit"])
    from vqkit.storage.checkpoints import digest

    tensors = {name: value for name, value in load_file(file).items() if lacking != "all" and not name.startswith(lacking)}
    tensors = tensors or {"x": torch.zeros(1)}
    save_file(tensors, file, {"vqkit": sealed({key: header[key] for key in ("kind", "step", "best")}, digest(tensors))})
    refused(run, "does not fit the run")


@pytest.mark.parametrize(
    "line", [b"\xff\xfe\x00", b"[]", b"3", b'{"step": null}', b'{"step": "x"}', b'{"step": 1e999}', b"[" * 10_000, b'{"step": NaN}']
)
def test_damaged_lines_of_metrics_are_dropped(tmp_path: Path, line: bytes) -> None:
    kept = b'{"step": 1, "epoch": 0.5}\n'
    (tmp_path / "metrics.jsonl").write_bytes(kept + line + b"\n" + kept + b'{"step": 9}\n{"st')
    Recorder(tmp_path, 5).close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == kept + kept


@pytest.mark.parametrize("target", [b"\xff", b"a\0b", b"x" * 300, b"x/" * 5000, b"a\nb", b""])
@pytest.mark.parametrize("pointer", ["best", "latest"])
def test_pointers_to_nothing_are_passed_over(run: Path, pointer: str, target: bytes) -> None:
    (run / pointer).write_bytes(target)
    assert runs.locate(run).is_file()
