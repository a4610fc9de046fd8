"""Weights & Biases (`vqkit[wandb]`): the project `vqkit`, or the one that WANDB_PROJECT names.

WANDB_MODE=offline writes to <run>/wandb alone, for `wandb sync`. A resumed run goes on in its own curves: its name there is kept in
<run>/wandb_id. Steps that are trained again after a resume are not drawn twice, because wandb takes no step below the last one.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from vqkit.core.optional_packages import optional_package
from vqkit.training.trackers.histograms import few_bins
from vqkit.training.trackers.names import keep_name, kept_name, settings_of

if TYPE_CHECKING:
    from PIL.Image import Image

ID_FILE = "wandb_id"


class WandbTracker:
    """See `Tracker`. Raises `DataError` where wandb is not installed."""

    def __init__(self, run: Path, step: int) -> None:
        self._wandb = optional_package("wandb", "wandb", "Runs are tracked by Weights & Biases")
        name = kept_name(run, ID_FILE, step)
        if name is None:
            name = uuid.uuid4().hex[:8]
            keep_name(run, ID_FILE, name)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", "vqkit"),
            name=run.name,
            id=name,
            resume="allow",
            dir=str(run),
            config=settings_of(run),
            settings=self._wandb.Settings(silent=True, console="off"),
        )

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.row`."""
        self._run.log(dict(values), step=step)

    def histogram(self, step: int, name: str, counts: Tensor) -> None:
        """See `Tracker.histogram`; wandb takes at most 512 bins, so that larger codebooks are summed by neighbours."""
        self._run.log({f"codes/{name}": self._wandb.Histogram(np_histogram=few_bins(counts))}, step=step)

    def picture(self, step: int, name: str, sheet: Image) -> None:
        """See `Tracker.picture`."""
        self._run.log({name: self._wandb.Image(sheet)}, step=step)

    def close(self) -> None:
        """See `Tracker.close`."""
        self._run.finish()
