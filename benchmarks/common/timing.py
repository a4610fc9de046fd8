"""Times of several calls, interleaved, so that whatever else the machine does affects all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping


def interleaved(calls: Mapping[str, Callable[[], object]], seconds: float, least: int = 3, most: int = 50) -> dict[str, float]:
    """Median wall time of each call in milliseconds, by name.

    Rounds of all calls, one after the other, until `seconds` have passed, at least `least` and at most `most` of them, after one
    round that is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    started = time.perf_counter()
    for turn in range(most + 1):
        if turn > least and time.perf_counter() - started > seconds:
            break
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            if turn:
                times[name].append(1e3 * (time.perf_counter() - before))
    return {name: statistics.median(values) for name, values in times.items()}


def ratio(times: Mapping[str, float], peer: str, own: str) -> float | None:
    """How many times as long as the call `own` the call `peer` takes; None where there is no such peer."""
    return round(times[peer] / times[own], 2) if peer in times else None
