"""The number of threads of a training: measured when nothing decides it, kept in run.yaml, and used by a run that resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from small_runs import tiny
from vqkit.config import RunConfig, read_config_file
from vqkit.training import threads
from vqkit.training.run import train
from vqkit.training.threads import counts_up_to, fewest_fast, keep_threads, measured, using_threads, with_threads
from vqkit.training.trainer import Outcome, Trainer


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Two cores and nothing that decides; a measurement that finds two threads faster, and what it was asked to try."""
    asked: list[list[int]] = []

    def stand_in(counts: list[int]) -> dict[int, float]:
        asked.append(counts)
        return {1: 2.0, 2: 1.0}

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "usable_cpus", lambda: 2)
    monkeypatch.setattr(threads, "measured", stand_in)
    return asked


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])])
def test_powers_of_two_and_all_cores_are_tried(cores: int, counts: list[int]) -> None:
    assert counts_up_to(cores) == counts


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 1.0, 2: 0.95}, 1), ({1: 1.0, 2: 0.6, 4: 0.58}, 2), ({1: 1.0, 2: 4.0}, 1), ({1: 1.0, 2: 0.6, 4: 0.3}, 4)],
)
def test_fewer_threads_are_chosen_unless_more_are_clearly_faster(seconds: dict[int, float], chosen: int) -> None:
    assert fewest_fast(seconds) == chosen


def test_a_measurement_changes_neither_threads_nor_random_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = measured([1, 2])
    assert [*found] == [1, 2]
    assert min(found.values()) > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 1


def test_threads_end_with_their_block() -> None:
    with using_threads(2):
        assert torch.get_num_threads() == 2
        with using_threads(None):
            assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 1


def test_what_is_set_is_not_measured(undecided: list[list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    config = RunConfig.model_validate(tiny())
    assert with_threads(keep_threads(config, 1)).training.threads == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert with_threads(config).training.threads is None
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads, "usable_cpus", lambda: 1)
    assert with_threads(config).training.threads is None
    assert undecided == []


def test_a_run_is_resumed_with_the_threads_that_were_measured(
    undecided: list[list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []
    fit = Trainer.fit

    def noted(trainer: Trainer) -> Outcome:
        used.append(torch.get_num_threads())
        return fit(trainer)

    monkeypatch.setattr(Trainer, "fit", noted)
    run, settings = tmp_path / "run", short()
    train(None, settings, [], run, "auto")
    assert read_config_file(run / "run.yaml")["training"]["threads"] == 2
    train(None, settings, [], run, "auto")
    train(None, {}, [], None, str(run))
    assert undecided == [[1, 2]], "measured once"
    assert used == [2, 2, 2]
    assert torch.get_num_threads() == 1


def short() -> dict[str, Any]:
    """A tiny run of two steps."""
    settings = tiny()
    return {**settings, "training": {**settings["training"], "steps": 2}}
