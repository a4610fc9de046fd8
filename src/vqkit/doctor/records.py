"""Checks of the metrics that a run recorded during training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from vqkit.doctor.checks import Outcome, failed, ok, skipped, warning
from vqkit.errors import DataError

METRICS = "metrics.jsonl"
OVERFITTING_THRESHOLD = 0.02
"""Relative increase of the held-out loss over its minimum above which there is a warning."""


def losses(run: Path) -> Outcome:
    """Whether every recorded metric is finite."""
    rows = _rows(run)
    if not rows:
        return skipped(f"no {METRICS} beside this checkpoint")
    for row in rows:
        not_finite = [name for name, value in row.items() if value is None or not math.isfinite(value)]
        if not_finite:
            return failed(f"{', '.join(not_finite)} at step {row['step']:g} is not finite. Train again with a lower --lr.")
    skipped_steps = int(max(row.get("train/skipped_steps", 0) for row in rows))
    if skipped_steps:
        return warning(
            f"{len(rows)} rows are finite, but {skipped_steps} training steps were skipped because their gradient was not"
        )
    return ok(f"all metrics of {len(rows)} rows are finite, up to step {rows[-1]['step']:g}")


def overfitting(run: Path) -> Outcome:
    """Whether the held-out loss increased at the end of training while the training loss decreased."""
    rows = [row for row in _rows(run) if {"train/loss", "val/loss"} <= row.keys() and None not in row.values()]
    if len(rows) < 2:
        return skipped(f"{METRICS} has fewer than two epochs with a held-out loss")
    best, last = min(rows, key=lambda row: row["val/loss"]), rows[-1]
    gap = last["val/loss"] - last["train/loss"]
    message = f"held-out loss {last['val/loss']:.4g}, training loss {last['train/loss']:.4g} (gap {gap:.3g})"
    rise = last["val/loss"] - best["val/loss"]
    if rise > OVERFITTING_THRESHOLD * abs(best["val/loss"]) and last["train/loss"] < best["train/loss"]:
        lowest = f"its minimum was {best['val/loss']:.4g}, at step {best['step']:g}"
        return warning(f"{message}; {lowest}: the prior overfits. Train for fewer epochs or on more data.")
    return ok(message)


def _rows(run: Path) -> list[dict[str, Any]]:
    """The rows of the metrics file, none if there is no file. Raises `DataError` for a line that cannot be parsed."""
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
                f"Line {number} of {file} is not a row of metrics.", "It was truncated or edited; remove the line."
            ) from None
        rows.append(row)
    return rows
