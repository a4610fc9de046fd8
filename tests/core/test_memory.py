"""How much fits at once, and what happens when it did not."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch

from vqkit.core import memory
from vqkit.core.memory import free_bytes, map_batches, max_batch_size

CPU = torch.device("cpu")


@pytest.mark.parametrize(("each", "count"), [(10, 50), (400, 1), (10**6, 1), (7, 71), (1, 100), (0, 100)])
def test_half_of_what_is_free_is_filled(each: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda device: 1000)
    assert max_batch_size(each, CPU, most=100) == count


def test_the_system_says_what_is_free() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 2**20 < free_bytes(CPU) <= total


def test_a_system_that_does_not_say_has_a_gibibyte(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", unknown)
    assert free_bytes(CPU) == 2**30


class Work:
    """Returns the range that it was given; more than `most` at a time is too much."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        self.most, self.error, self.tried = most, error, []

    def __call__(self, start: int, stop: int) -> list[int]:
        self.tried.append(stop - start)
        if stop - start > self.most:
            raise self.error
        return list(range(start, stop))


ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")]


def test_batches_follow_each_other() -> None:
    work = Work(10, ERRORS[0])
    assert map_batches(7, 3, work, smaller=False) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("error", ERRORS, ids=["gpu", "processor"])
def test_what_was_too_much_is_halved_until_it_fits_and_stays_so(error: RuntimeError) -> None:
    work = Work(3, error)
    assert [number for batch in map_batches(20, 16, work, smaller=True) for number in batch] == list(range(20))
    assert work.tried == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]


def test_what_is_too_much_alone_is_an_error() -> None:
    work = Work(0, ERRORS[0])
    with pytest.raises(torch.OutOfMemoryError):
        map_batches(3, 2, work, smaller=True)
    assert work.tried == [2, 1]


@pytest.mark.parametrize(("smaller", "error"), [(False, ERRORS[0]), (True, RuntimeError("a bug"))], ids=["as asked for", "bug"])
def test_nothing_else_is_tried_again(smaller: bool, error: RuntimeError) -> None:
    work = Work(3, error)
    with pytest.raises(RuntimeError) as caught:
        map_batches(20, 16, work, smaller=smaller)
    assert caught.value is error and work.tried == [16]


def test_the_c_library_is_asked_to_give_memory_back_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=asked.append))
    memory.return_freed_memory()
    assert asked == [0]
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: SimpleNamespace())
    memory.return_freed_memory()  # another C library
