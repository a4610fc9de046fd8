"""MLflow's local store and Trackio's hold the numbers and pictures of metrics.jsonl and images/, once, also after a resume."""

from __future__ import annotations

import json
import re
import sqlite3
import warnings
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from test_trackers import rows_of

from small_runs import tiny
from vqkit.config import TrackerName
from vqkit.errors import DataError
from vqkit.training.run import train
from vqkit.training.trackers.opening import open_trackers
from vqkit.training.tracking import Recorder


def train_and_resume(run: Path, tracker: TrackerName) -> dict[int, dict[str, float]]:
    """Train a tiny run, then resume from step 10, stop before the last step, and resume from there again, to a step after it.

    Returns what must be there.
    """
    train(None, tiny(track=[tracker], steps=20), [], run, "auto")
    rows = rows_of(run)
    for steps in ((15,), (15, 18, 25)):
        resumed = Recorder(run, 10, [tracker])
        for step in steps:
            resumed.row(step, step / 6, {"train/loss": -2.0})
        resumed.close()
    return {**rows, 25: {"train/loss": -2.0}}


@pytest.fixture
def quiet_mlflow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, which neither warns about its own parts nor reports that it is used."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("mlflow")


def test_mlflow(tmp_path: Path, quiet_mlflow: Any) -> None:
    run = tmp_path / "run"
    rows = train_and_resume(run, "mlflow")
    client = quiet_mlflow.MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("vqkit")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_name == "run"
    assert found.data.params["model.quantizer.num_codes"] == "32"
    for name in {name for row in rows.values() for name in row}:
        history = client.get_metric_history(found.info.run_id, name)
        recorded = {metric.step: metric.value for metric in sorted(history, key=lambda metric: metric.timestamp)}
        assert recorded == pytest.approx({step: row[name] for step, row in rows.items() if name in row}, rel=1e-5), name
    files = run / "mlflow" / found.info.run_id / "artifacts"
    shown = {re.split(r"[+%]step", path.name)[0] for path in (files / "images").iterdir()}
    assert shown == {path.stem.split("_", 2)[2] for path in (run / "images").iterdir()}
    last = max((run / "images").glob("epoch_*_recon.png"))
    (stored,) = [path for path in (files / "images").glob("recon*.png") if re.match(r"recon[+%]step[+%]20\D", path.name)]
    with Image.open(last) as kept, Image.open(stored) as again:
        assert kept.convert("RGB").tobytes() == again.convert("RGB").tobytes()
    counts = json.loads(max((files / "codes" / "codes").iterdir()).read_text())
    assert len(counts["counts"]) == 32
    assert sum(counts["counts"]) > 0


def test_a_store_of_mlflow_that_cannot_be_reached(tmp_path: Path, quiet_mlflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "carrier-pigeon://loft")
    with pytest.raises(DataError, match="carrier-pigeon") as caught:
        open_trackers(["mlflow"], tmp_path, 0)
    assert "MLFLOW_TRACKING_URI" in caught.value.hint


def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "shown"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("trackio")
        rows = train_and_resume(tmp_path / "run", "trackio")
    assert "trackio show" not in capsys.readouterr().out
    with sqlite3.connect(tmp_path / "shown" / "vqkit.db") as store:
        stored = store.execute("select run_name, step, metrics from metrics order by id").fetchall()
    (name,) = {name for name, _, _ in stored}
    assert name == (tmp_path / "run" / "trackio_id").read_text().strip()
    recorded: dict[int, dict[str, Any]] = {}
    for _, step, values in stored:
        recorded.setdefault(step, {}).update(json.loads(values))
    assert set(recorded) == set(rows)
    for step, row in rows.items():
        for key, value in row.items():
            assert recorded[step][key] == pytest.approx(value, rel=1e-5), (step, key)
    names = {path.stem.split("_", 2)[2] for path in (tmp_path / "run" / "images").iterdir()}
    assert {key for key, value in recorded[20].items() if isinstance(value, dict) and value["_type"] == "trackio.image"} == names
    assert sum(recorded[20]["codes/codes"]["values"]) > 0
