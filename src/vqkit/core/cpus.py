"""How many processor cores this process may use."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """Cores that the scheduler grants this process (its affinity mask), or all cores where the system has no such mask."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
