from __future__ import annotations

import os

import pytest

from vqkit.core.cpus import usable_cpus


def test_only_the_cores_of_the_affinity_mask_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cpus() == 3


@pytest.mark.parametrize(("reported", "expected"), [(6, 6), (None, 1)])
def test_without_an_affinity_mask_all_cores_count(monkeypatch: pytest.MonkeyPatch, reported: int | None, expected: int) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: reported)
    assert usable_cpus() == expected
