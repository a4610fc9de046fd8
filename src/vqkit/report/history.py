"""The metrics that a run recorded during training: curves, and the time that its steps took."""

from __future__ import annotations

import json
from pathlib import Path

Row = dict[str, float]
"""One row of metrics.jsonl, without values that are null."""


def read_history(run: Path) -> list[Row]:
    """The rows of a run's metrics.jsonl, in order; none where there is no such file. A truncated or damaged line is left out."""
    try:
        lines = (run / "metrics.jsonl").read_bytes().split(b"\n")
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            content = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(content, dict) and all(
            isinstance(value, int | float | None) for value in (content.get("step", ""), *content.values())
        ):
            rows.append({name: value for name, value in content.items() if value is not None})
    return rows


def curve(rows: list[Row], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of one recorded metric."""
    points = [(row["step"], row[name]) for row in rows if name in row]
    return [step for step, _ in points], [value for _, value in points]


def training_seconds(rows: list[Row], batch_size: int) -> float | None:
    """Seconds that all steps took, without validation, images and checkpoints; None where no rate was recorded.

    Computed from the rates, so that every step of an interrupted run counts once. Steps after the last recorded rate are
    assumed to have had that rate.
    """
    steps, rates = curve(rows, "images_per_second")
    if not steps:
        return None
    last = max(row["step"] for row in rows)
    before = [0.0, *steps[:-1]]
    counted = [step - previous for step, previous in zip(steps, before, strict=True)]
    counted[-1] += last - steps[-1]
    return sum(batch_size * count / rate for count, rate in zip(counted, rates, strict=True) if rate > 0)
