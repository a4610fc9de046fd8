"""MLflow (`vqkit[mlflow]`): the store that MLFLOW_TRACKING_URI names, or <run>/mlflow.db with its files in <run>/mlflow.

The experiment is `vqkit`, or the one that MLFLOW_EXPERIMENT_NAME names. A resumed run goes on in its own curves: its name there is
kept in <run>/mlflow_id. Steps that are trained again after a resume are not recorded twice (<run>/mlflow_steps).
"""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vqkit.core.optional_packages import optional_package
from vqkit.errors import DataError, reason_of
from vqkit.training.trackers.names import keep_name, kept_name, recorded_until, settings_of

if TYPE_CHECKING:
    from PIL.Image import Image

ID_FILE, STEPS_FILE = "mlflow_id", "mlflow_steps"
_NOT_IN_NAMES = re.compile(r"[^\w\-. /:]")
_MOST_AT_ONCE = 100
"""Parameters that MLflow takes in one call."""
_LONGEST = 500
"""Characters of a parameter; longer settings are only in the run.yaml that is stored as well."""


class MLflowTracker:
    """See `Tracker`. Raises `DataError` where mlflow is not installed or its store refuses what is recorded.

    Histograms are stored as files, codes/NAME/STEP.json, as MLflow has no histograms.
    """

    def __init__(self, run: Path, step: int, recorded: int) -> None:
        optional_package("mlflow", "mlflow", "Runs are tracked by MLflow")
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)  # tables that are made are no news
        self._metric = Metric
        self._store = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{run.resolve() / 'mlflow.db'}"
        own = not os.environ.get("MLFLOW_TRACKING_URI")
        with self._refusals():
            self._client = MlflowClient(tracking_uri=self._store)
            kept = kept_name(run, ID_FILE, step)
            self._recorded = recorded_until(run, STEPS_FILE, recorded) if kept else -1
            self._id = kept or self._start(run, (run / "mlflow").resolve().as_uri() if own else None)

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.row`."""
        if step > self._recorded:
            now = int(time.time() * 1000)
            metrics = [self._metric(_NOT_IN_NAMES.sub("_", name), value, now, step) for name, value in values.items()]
            with self._refusals():
                self._client.log_batch(self._id, metrics=metrics)

    def histogram(self, step: int, name: str, counts: Tensor) -> None:
        """See `Tracker.histogram`."""
        if step > self._recorded:
            with self._refusals():
                self._client.log_dict(self._id, {"step": step, "counts": counts.tolist()}, f"codes/{name}/{step:07d}.json")

    def picture(self, step: int, name: str, sheet: Image) -> None:
        """See `Tracker.picture`."""
        if step > self._recorded:
            with self._refusals():
                self._client.log_image(self._id, sheet, key=_NOT_IN_NAMES.sub("_", name), step=step)

    def close(self) -> None:
        """See `Tracker.close`."""
        with self._refusals():
            self._client.set_terminated(self._id)

    def _start(self, run: Path, files: str | None) -> str:
        """Make a run in the store, with the settings as parameters. Returns its name there."""
        called = os.environ.get("MLFLOW_EXPERIMENT_NAME", "vqkit")
        found = self._client.get_experiment_by_name(called)
        experiment = found.experiment_id if found else self._client.create_experiment(called, artifact_location=files)
        name = str(self._client.create_run(experiment, run_name=run.name).info.run_id)
        keep_name(run, ID_FILE, name)
        settings = settings_of(run)
        self._client.log_dict(name, settings, "run.yaml")
        short = [(key, value) for key, value in _flat(settings) if len(value) <= _LONGEST]
        from mlflow.entities import Param

        parameters = [Param(key, value) for key, value in short]
        for first in range(0, len(parameters), _MOST_AT_ONCE):
            self._client.log_batch(name, params=parameters[first : first + _MOST_AT_ONCE])
        return name

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn exceptions of MLflow into `DataError`; its warnings are about its own parts, not about the run."""
        from mlflow.exceptions import MlflowException

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except MlflowException as error:
            reason = reason_of(str(error).partition("\n")[0])  # what follows are links
            raise DataError(
                f"MLflow cannot record the run in {_without_password(self._store)}: {reason}.",
                "Check MLFLOW_TRACKING_URI, or train with --track none.",
            ) from error


def _without_password(store: str) -> str:
    """The address of a store without who uses it: https://user:password@host."""
    return re.sub(r"//[^/@]*@", "//", store)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings with dotted keys, as text."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{_NOT_IN_NAMES.sub('_', key)}.")
        else:
            yield f"{prefix}{_NOT_IN_NAMES.sub('_', key)}", str(value)
