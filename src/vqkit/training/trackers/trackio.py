"""Trackio (`vqkit[trackio]`): the project `vqkit`, or the one that TRACKIO_PROJECT names, in <run>/trackio.

TRACKIO_DIR names another place, for several runs in one dashboard; TRACKIO_SPACE_ID and TRACKIO_SERVER_URL are its own settings.
A resumed run goes on in its own curves: its name there is kept in <run>/trackio_id. Steps that are trained again after a resume are
not recorded twice (<run>/trackio_steps).
"""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from vqkit.core.optional_packages import optional_package
from vqkit.training.trackers.histograms import few_bins
from vqkit.training.trackers.names import keep_name, kept_name, recorded_until, settings_of

if TYPE_CHECKING:
    from PIL.Image import Image

ID_FILE, STEPS_FILE = "trackio_id", "trackio_steps"


class TrackioTracker:
    """See `Tracker`. Raises `DataError` where trackio is not installed."""

    def __init__(self, run: Path, step: int, recorded: int) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(run.resolve() / "trackio"))  # read once, when trackio is imported
        self._trackio = optional_package("trackio", "trackio", "Runs are tracked by Trackio")
        name = kept_name(run, ID_FILE, step)
        self._recorded = recorded_until(run, STEPS_FILE, recorded) if name else -1
        if name is None:
            name = f"{run.name}-{uuid.uuid4().hex[:8]}"
            keep_name(run, ID_FILE, name)
        with contextlib.redirect_stdout(io.StringIO()):  # the dashboard's advertisement
            self._run = self._trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", "vqkit"),
                name=name,
                resume="allow",
                config=settings_of(run),
                embed=False,
            )

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.row`."""
        self._log(step, dict(values))

    def histogram(self, step: int, name: str, counts: Tensor) -> None:
        """See `Tracker.histogram`; neighbours are summed in codebooks of more than 512 codes."""
        self._log(step, {f"codes/{name}": self._trackio.Histogram(np_histogram=few_bins(counts))})

    def picture(self, step: int, name: str, sheet: Image) -> None:
        """See `Tracker.picture`."""
        self._log(step, {name: self._trackio.Image(sheet)})

    def close(self) -> None:
        """See `Tracker.close`."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._trackio.finish()

    def _log(self, step: int, values: Mapping[str, object]) -> None:
        if step > self._recorded:
            self._run.log(values, step=step)
