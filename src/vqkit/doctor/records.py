"""Checks of what a run wrote down while it was trained."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from vqkit.doctor.checks import Verdict, failed, ok, skipped, warning
from vqkit.errors import DataError

METRICS = "metrics.jsonl"
OVERFITTED = 0.02
"""Share by which the held-out loss may rise above its least before it is worth a warning."""


def losses(run: Path) -> Verdict:
    """Whether every figure that a run recorded is a finite number."""
    rows = _rows(run)
    if not rows:
        return skipped(f"no {METRICS} beside this checkpoint")
    for row in rows:
        lost = [name for name, value in row.items() if value is None or not math.isfinite(value)]
        if lost:
            return failed(f"{', '.join(lost)} at step {row['step']:g} is no finite number. Train again with a lower --lr.")
    bad = int(max(row.get("train/skipped_steps", 0) for row in rows))
    if bad:
        return warning(f"{len(rows)} rows are finite, but {bad} training steps were left out because their gradient was not")
    return ok(f"all figures of {len(rows)} rows are finite, to step {rows[-1]['step']:g}")


def overfitting(run: Path) -> Verdict:
    """Whether the held-out loss rose at the end of the training while the training loss fell."""
    rows = [row for row in _rows(run) if {"train/loss", "val/loss"} <= row.keys() and None not in row.values()]
    if len(rows) < 2:
        return skipped(f"no two epochs with a held-out loss in {METRICS}")
    best, last = min(rows, key=lambda row: row["val/loss"]), rows[-1]
    gap = last["val/loss"] - last["train/loss"]
    found = f"held-out loss {last['val/loss']:.4g}, training loss {last['train/loss']:.4g} (gap {gap:.3g})"
    rise = last["val/loss"] - best["val/loss"]
    if rise > OVERFITTED * abs(best["val/loss"]) and last["train/loss"] < best["train/loss"]:
        least = f"it was least, {best['val/loss']:.4g}, at step {best['step']:g}"
        return warning(f"{found}; {least}: the prior overfits. Train for less long, or on more data.")
    return ok(found)


def _rows(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics, none without a file. Raises `DataError` for a line that is no row."""
    file = run / METRICS
    if not file.is_file():
        return []
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            row = {name: value if value is None else float(value) for name, value in row.items()}
            row["step"] = float(row["step"])
        except (ValueError, TypeError, KeyError, AttributeError):
            raise DataError(
                f"Line {number} of {file} is no row of figures.", "It was cut short or edited; remove the line."
            ) from None
        rows.append(row)
    return rows
