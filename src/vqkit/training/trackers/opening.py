"""The trackers that a run names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vqkit.config import TrackerName
from vqkit.training.trackers.contract import Tracker
from vqkit.training.trackers.tensorboard import TensorBoardTracker
from vqkit.training.trackers.wandb import WandbTracker


def open_trackers(names: Sequence[TrackerName], run: Path, step: int) -> list[Tracker]:
    """A tracker for each name, for a run that starts or resumes at a step. Raises `DataError` for a package that is missing."""
    classes: dict[TrackerName, type[TensorBoardTracker] | type[WandbTracker]] = {
        "tensorboard": TensorBoardTracker,
        "wandb": WandbTracker,
    }
    return [classes[name](run, step) for name in dict.fromkeys(names)]
