"""Memory of this process, as Linux counts it.

Not `getrusage`: its peak outlives `exec`, so that a child starts with its parent's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident_mib(key: Literal["VmRSS", "VmHWM"]) -> float:
    """Memory now (`VmRSS`) or at its peak (`VmHWM`)."""
    status = _STATUS.read_text(encoding="utf-8")
    return int(status.partition(f"{key}:")[2].split()[0]) / 1024


def can_reset_peak() -> bool:
    """Whether `reset_peak` works on this system."""
    return _CLEAR.exists()


def reset_peak() -> None:
    """Make the memory of now the peak."""
    _CLEAR.write_text("5", encoding="utf-8")
