"""Processor cores: how many this process may use, and how its threads wait."""

from __future__ import annotations

import os


def wait_without_spinning() -> None:
    """Let threads of PyTorch that wait for each other sleep, unless `OMP_WAIT_POLICY` says otherwise. Call it before the import.

    By default they spin, which takes whole time slices from other threads and processes on the same cores.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def usable_cpus() -> int:
    """Cores that the scheduler grants this process (its affinity mask), or all cores where the system has no such mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
