"""Runs whose processes change in number, or of which one dies."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from processes import start_group, start_group_to_end
from small_runs import tiny
from vqkit.core import distributed
from vqkit.data.augmentation import Augmentation
from vqkit.errors import Interrupted, TrainingError
from vqkit.interfaces import Batch
from vqkit.storage import runs
from vqkit.storage.checkpoints import load_model
from vqkit.training.run import train
from vqkit.training.trainer import Trainer


def check_equal(run: Path, expected: Path) -> None:
    """The weights of two finished runs are equal but for the rounding of sums over processes."""
    one, other = (load_model(runs.checkpoint_directory(each, 20)).model for each in (run, expected))
    for name, weight in other.named_parameters():
        torch.testing.assert_close(one.get_parameter(name), weight, rtol=1e-3, atol=1e-4)


def until(step: int, run: Path) -> None:
    """Train, or go on, until a step; then stop as a signal does."""
    ordinary = Trainer._train_step

    def counted(self: Trainer, *arguments: Any) -> None:
        ordinary(self, *arguments)
        self._stop_requested = self.step == step

    Trainer._train_step = counted  # type: ignore[method-assign]
    try:
        train(None, tiny(), [], run, "auto")
    except Interrupted:
        assert runs.checkpoints(run)[-1].name == f"step-{step:08d}"
    finally:
        Trainer._train_step = ordinary  # type: ignore[method-assign]


def first_part(rank: int, folder: str) -> None:
    until(7, Path(folder).parent / "run")


def last_part(rank: int, folder: str) -> None:
    until(20, Path(folder).parent / "run")


def test_two_processes_then_one_then_two_again(tiny_run: Path, tmp_path: Path) -> None:
    """They stop and go on in the middle of an epoch of six steps."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    start_group(first_part, tmp_path / "a")
    until(14, tmp_path / "run")
    start_group(last_part, tmp_path / "b")
    check_equal(tmp_path / "run", tiny_run)


def one_validation_image(rank: int, folder: str) -> None:
    config = tiny(steps=6)
    train(None, {**config, "data": {**config["data"], "num_val": 1}}, [], Path(folder) / "run", "auto")


def test_more_processes_than_validation_images(tmp_path: Path) -> None:
    start_group(one_validation_image, tmp_path)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["val/psnr"] > 0


def one_dies(rank: int, folder: str) -> None:
    ordinary = Trainer._train_step

    def deadly(self: Trainer, *arguments: Any) -> None:
        ordinary(self, *arguments)
        if self.step == 14 and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    Trainer._train_step = deadly  # type: ignore[method-assign]
    try:
        train(None, tiny(), [], Path(folder) / "run", "auto")
    except TrainingError as error:
        (Path(folder) / "said.txt").write_text(str(error))
        os._exit(0)  # the group cannot be left together


def test_a_process_that_dies_ends_the_run_with_a_message(tiny_run: Path, tmp_path: Path) -> None:
    assert start_group_to_end(one_dies, tmp_path) == [0, -signal.SIGKILL]
    said = (tmp_path / "said.txt").read_text()
    assert "Another process" in said and "its last checkpoint is step-00000012" in said
    assert f"vqkit train-vqvae --resume {tmp_path / 'run'}" in said
    train(None, {}, [], None, str(tmp_path / "run"))
    check_equal(tmp_path / "run", tiny_run)


def test_random_variants_do_not_depend_on_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(8, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    augmentation = Augmentation(flip=True, crop=2, turn=True)

    def varied(part: torch.Tensor) -> torch.Tensor:
        batch = Batch(part, torch.empty(len(part), 0), torch.full((len(part),), -1))
        return augmentation.apply(batch, torch.Generator().manual_seed(3)).images

    whole = varied(images)
    assert not torch.equal(whole, images)
    monkeypatch.setattr("vqkit.data.augmentation.world_size", lambda: 4)
    monkeypatch.setattr(distributed, "world_size", lambda: 4)
    for rank in range(4):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        assert torch.equal(varied(images[2 * rank : 2 * rank + 2]), whole[2 * rank : 2 * rank + 2])
