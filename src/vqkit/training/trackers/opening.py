"""The trackers that a run names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vqkit.config import TrackerName
from vqkit.training.trackers.contract import Tracker
from vqkit.training.trackers.mlflow import MLflowTracker
from vqkit.training.trackers.tensorboard import TensorBoardTracker
from vqkit.training.trackers.trackio import TrackioTracker
from vqkit.training.trackers.wandb import WandbTracker


def open_trackers(names: Sequence[TrackerName], run: Path, step: int, recorded: int = 0) -> list[Tracker]:
    """A tracker for each name, for a run that starts or resumes at a step. Raises `DataError` for a package that is missing.

    `recorded`: the last step of which the run recorded anything before it was interrupted, at least `step`.
    """
    trackers: dict[TrackerName, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoardTracker(run, step),
        "wandb": lambda: WandbTracker(run, step),
        "mlflow": lambda: MLflowTracker(run, step, recorded),
        "trackio": lambda: TrackioTracker(run, step, recorded),
    }
    return [trackers[name]() for name in dict.fromkeys(names)]
