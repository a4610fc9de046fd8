from __future__ import annotations

import os
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from vqkit.core import distributed
from vqkit.data import loading
from vqkit.data.loading import TrainingLoader, evaluation_batches
from vqkit.data.splits import ArraySplit
from vqkit.errors import ConfigError
from vqkit.interfaces import Batch, DataSpec

SPEC = DataSpec.uniform("numbers", ("grey",), 1, 1, "intensity")


class Streamed(ArraySplit):
    """The same images, but read by workers."""

    in_memory = False


def numbers(count: int, kind: type[ArraySplit] = ArraySplit) -> ArraySplit:
    """A split whose image number n has the value n and the label n."""
    return kind(SPEC, torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1), labels=torch.arange(count))


def seen(batches: Iterable[Batch]) -> list[list[int]]:
    return [batch.labels.tolist() for batch in batches]


def pretend(monkeypatch: pytest.MonkeyPatch, rank: int, processes: int) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    monkeypatch.setattr(distributed, "world_size", lambda: processes)


def test_an_epoch_shows_every_image_once_but_for_the_rest() -> None:
    loader = TrainingLoader(numbers(23), batch_size=5, seed=0, workers=0)
    batches = seen(loader.epoch(0))
    flat = [number for batch in batches for number in batch]
    assert [len(batch) for batch in batches] == [5] * 4
    assert loader.steps_per_epoch == 4
    assert loader.size == 23
    assert len(set(flat)) == 20
    assert flat != sorted(flat)


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        loader = TrainingLoader(numbers(40), batch_size=8, seed=seed, workers=0)
        torch.randperm(5)  # whatever the process drew before does not matter
        return seen(loader.epoch(epoch))

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_starting_later_gives_the_rest_of_the_same_epoch() -> None:
    loader = TrainingLoader(numbers(40), batch_size=8, seed=0, workers=0)
    assert seen(loader.epoch(2, start=3)) == seen(loader.epoch(2))[3:]
    assert seen(loader.epoch(2, start=5)) == []


def test_skipped_batches_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Tensor] = []
    split = numbers(40)
    monkeypatch.setattr(split, "batch", read.append)
    next(TrainingLoader(split, batch_size=8, seed=0, workers=0).epoch(0, start=4))
    assert len(read) == 1


def test_processes_share_each_global_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = seen(TrainingLoader(numbers(40), batch_size=8, seed=0, workers=0).epoch(1))
    shares = []
    for rank in range(4):
        pretend(monkeypatch, rank, 4)
        shares.append(seen(TrainingLoader(numbers(40), batch_size=8, seed=0, workers=0).epoch(1)))
    assert [[number for share in shares for number in share[step]] for step in range(5)] == whole


def test_a_batch_that_processes_cannot_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0, 3)
    with pytest.raises(ConfigError, match="8 cannot be shared equally by 3 processes") as refused:
        TrainingLoader(numbers(40), batch_size=8, seed=0, workers=0)
    assert "--batch-size 9" in refused.value.hint


def test_a_batch_larger_than_the_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch size 64 is larger than the training set of 40 images") as refused:
        TrainingLoader(numbers(40), batch_size=64, seed=0, workers=0)
    assert "--batch-size 40" in refused.value.hint


# Newer Pythons warn of any fork of a process with threads, and torch has threads.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_read_the_same_batches_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    streamed = seen(TrainingLoader(numbers(40, Streamed), batch_size=8, seed=0, workers=2).epoch(1))
    assert streamed == seen(TrainingLoader(numbers(40), batch_size=8, seed=0, workers=0).epoch(1))
    assert streamed == seen(TrainingLoader(numbers(40, Streamed), batch_size=8, seed=0, workers=0).epoch(1))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("requested", "cores", "started"), [(2, 1, 1), (8, 3, 3), (2, 4, 2)])
def test_no_more_workers_are_started_than_there_are_usable_cores(
    monkeypatch: pytest.MonkeyPatch, requested: int, cores: int, started: int
) -> None:
    counts: list[int] = []

    def record(*_: object, num_workers: int, **__: object) -> list[Batch]:
        counts.append(num_workers)
        return []

    monkeypatch.setattr(loading, "DataLoader", record)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    list(TrainingLoader(numbers(40, Streamed), batch_size=8, seed=0, workers=requested).epoch(0))
    list(evaluation_batches(numbers(40, Streamed), batch_size=8, workers=requested))
    assert counts == [started, started]


def test_evaluation_goes_through_the_split_in_order() -> None:
    assert seen(evaluation_batches(numbers(7), batch_size=3)) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("count", [1, 7, 8])
def test_processes_share_an_evaluation_without_repeating_an_image(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    shares = []
    for rank in range(3):
        pretend(monkeypatch, rank, 3)
        shares.append([number for batch in seen(evaluation_batches(numbers(count), batch_size=2)) for number in batch])
    assert [number for share in shares for number in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
