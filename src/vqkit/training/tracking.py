"""What a run records: averaged metrics, metrics.jsonl, images, and what trackers show.

Metrics are summed on the device and fetched only when a row is written, so that recording does not synchronise with the device.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit.config import TrackerName
from vqkit.core.atomic import write_text
from vqkit.core.distributed import all_reduce, is_main
from vqkit.core.write_errors import errors_name
from vqkit.evaluation import metrics
from vqkit.training.trackers.contract import Tracker
from vqkit.training.trackers.opening import open_trackers

if TYPE_CHECKING:
    from PIL.Image import Image


class MetricAverages:
    """Sums of named scalars and of named code histograms, over the steps since the last `reset`."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._steps = 0

    def add(self, scalars: Mapping[str, Tensor], counts: Mapping[str, Tensor]) -> None:
        """Add the scalars (float, []) and histograms (int64, [K]) of one step."""
        self._steps += 1
        for store, values in ((self._sums, scalars), (self._counts, counts)):
            for name, value in values.items():
                store[name] = store[name] + value.detach() if name in store else value.detach().clone()

    def means(self) -> dict[str, float]:
        """The mean of each scalar over the steps and the processes. Every process must call it."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        sums = torch.stack([self._sums[name].double() for name in names])
        totals = torch.cat([sums, sums.new_full((1,), self._steps)])
        all_reduce(totals)
        values = totals.tolist()
        return {name: value / values[-1] for name, value in zip(names, values[:-1], strict=True)}

    def code_use(self) -> dict[str, float]:
        """Perplexity and usage of each histogram over the steps and the processes. Every process must call it."""
        result: dict[str, float] = {}
        for name, total in self.histograms().items():
            suffix = "" if len(self._counts) == 1 else f"_{name}"
            result[f"perplexity{suffix}"] = float(metrics.perplexity(total))
            result[f"usage{suffix}"] = float(metrics.usage(total))
        return result

    def histograms(self) -> dict[str, Tensor]:
        """The histograms, int64 [K] each, summed over the processes. Every process must call it."""
        totals = {name: self._counts[name].clone() for name in sorted(self._counts)}
        all_reduce(*totals.values())
        return totals

    def reset(self) -> None:
        """Start again from zero."""
        self._sums.clear()
        self._counts.clear()
        self._steps = 0

    def state(self) -> dict[str, Tensor]:
        """The state as named tensors, for a resumed run."""
        tensors = {f"sum.{name}": value for name, value in self._sums.items()}
        tensors |= {f"count.{name}": value for name, value in self._counts.items()}
        return {**tensors, "steps": torch.tensor(self._steps)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        self._sums = {name.removeprefix("sum."): value for name, value in state.items() if name.startswith("sum.")}
        self._counts = {name.removeprefix("count."): value for name, value in state.items() if name.startswith("count.")}
        self._steps = int(state["steps"])


class Recorder:
    """Writes rows to metrics.jsonl, pictures to files, and both to the trackers, on rank 0 only.

    A resumed run drops what was recorded after the step from which it resumes.
    """

    def __init__(self, run: Path, step: int, trackers: Sequence[TrackerName] = ("tensorboard",)) -> None:
        self._run = run
        self._file = run / "metrics.jsonl"
        self._trackers: list[Tracker] = []
        self._records = is_main()
        if not self._records:
            return
        lines = self._file.read_bytes().split(b"\n") if self._file.is_file() else []
        rows = [(_step_of(line), line) for line in lines]
        recorded = max([step, *(int(of) for of, _ in rows if math.isfinite(of))])
        # Before the rows go: from them is known what trackers hold of the steps that are trained again.
        self._trackers = open_trackers(trackers, run, step, recorded)
        if rows:
            kept = [line for of, line in rows if of <= step]
            write_text(self._file, "".join(f"{line.decode('utf-8')}\n" for line in kept))

    def row(self, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Append one row; a value that is not a number is written as null."""
        if not self._records:
            return
        content = {"step": step, "epoch": round(epoch, 4)} | {
            name: float(f"{value:.6g}") if math.isfinite(value) else None for name, value in values.items()
        }
        with errors_name(self._file), self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")
        for tracker in self._trackers:
            tracker.row(step, values)

    def histogram(self, step: int, name: str, counts: Tensor) -> None:
        """How often each code was chosen, counts int64 [K]."""
        for tracker in self._trackers:
            tracker.histogram(step, name, counts)

    def pictures(self, step: int, epoch: int, sheets: Mapping[str, Image]) -> None:
        """Save named pictures as images/epoch_NNNN_<name>.png and show them in the trackers."""
        if not self._records:
            return
        from vqkit.image_io.pictures import save_picture

        for name, sheet in sheets.items():
            save_picture(sheet, self._run / "images" / f"epoch_{epoch:04d}_{name}.png")
            for tracker in self._trackers:
                tracker.picture(step, name, sheet)

    def close(self) -> None:
        """Close the trackers. Raises `OSError`, like every method that writes."""
        for tracker in self._trackers:
            tracker.close()


def _step_of(line: bytes) -> float:
    """The step of a row; a line that is cut short by a crash, or damaged, counts as later than everything."""
    try:
        return float(json.loads(line.decode("utf-8"))["step"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return math.inf
