"""Every tracker gets the same numbers and pictures as metrics.jsonl and images/."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from small_runs import tiny
from vqkit.config import TrackerName
from vqkit.errors import ConfigError, DataError
from vqkit.training.run import train
from vqkit.training.trackers.opening import open_trackers

BLOCK, HEADER = 32768, 7


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny run that TensorBoard and wandb followed, wandb without a network."""
    pytest.importorskip("wandb")
    run = tmp_path_factory.mktemp("tracked") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_PROJECT", "elsewhere")
        train(None, tiny(track=["wandb", "tensorboard"], steps=10), [], run, "auto")
        yield run


def rows_of(run: Path) -> dict[int, dict[str, float]]:
    """Rows of metrics.jsonl by step; a step of which two rows are written has the values of both."""
    rows: dict[int, dict[str, float]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows.setdefault(row.pop("step"), {}).update({name: value for name, value in row.items() if name != "epoch"})
    return rows


def records(file: Path) -> Iterator[bytes]:
    """The records of a wandb file: blocks as in LevelDB's log, after seven bytes of its own."""
    content = file.read_bytes()
    place, parts = HEADER, b""
    while place + HEADER <= len(content):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        size, kind = struct.unpack("<HB", content[place + 4 : place + HEADER])
        parts += content[place + HEADER : place + HEADER + size]
        place += HEADER + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def written(run: Path) -> list[Any]:
    """The records that wandb's own process has written; it may write the last ones some time after the run."""
    from wandb.proto import wandb_internal_pb2

    (file,) = (run / "wandb").glob("offline-run-*/*.wandb")
    deadline = time.monotonic() + 60
    while True:
        found = [wandb_internal_pb2.Record.FromString(each) for each in records(file)]
        if any(record.HasField("exit") for record in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def history_of(run: Path) -> tuple[dict[int, dict[str, Any]], str]:
    """Values by step, and the project, in what wandb wrote; parts of pictures and histograms as `name.part`."""
    history: dict[int, dict[str, Any]] = {}
    project = ""
    for record in written(run):
        project = record.run.project or project
        values = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        if values:
            history.setdefault(int(values["_step"]), {}).update(values)
    return history, project


def test_tensorboard_and_wandb_have_the_numbers_of_metrics_jsonl(tracked: Path) -> None:
    rows = rows_of(tracked)
    board = EventAccumulator(str(tracked / "tensorboard"))
    board.Reload()
    shown = {name: {event.step: event.value for event in board.Scalars(name)} for name in board.Tags()["scalars"]}
    history, project = history_of(tracked)
    assert project == "elsewhere"
    assert sorted(rows) == [5, 6, 10]
    for step, row in rows.items():
        for name, value in row.items():
            assert shown[name][step] == pytest.approx(value, rel=1e-5), (name, step)
            assert history[step][name] == pytest.approx(value, rel=1e-5), (name, step)


def test_both_have_the_pictures_and_the_codes(tracked: Path) -> None:
    board = EventAccumulator(str(tracked / "tensorboard"))
    board.Reload()
    history, _ = history_of(tracked)
    names = {path.stem.split("_", 2)[2] for path in (tracked / "images").iterdir()}
    assert names == set(board.Tags()["images"])
    assert all(history[10][f"{name}._type"] == "image-file" for name in names)
    assert board.Tags()["histograms"] == ["codes/codes"]
    assert history[10]["codes/codes._type"] == "histogram"
    counts = board.Histograms("codes/codes")[-1].histogram_value
    assert sum(history[10]["codes/codes.values"]) == counts.num > 0


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_what_is_not_installed(name: TrackerName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=f"{name}, which is not installed") as caught:
        open_trackers([name], tmp_path, 0)
    assert f"vqkit[{name}]" in caught.value.hint


def test_what_is_not_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="track"):
        train(None, tiny(track=["guestbook"]), [], tmp_path / "run", "auto")
    assert list(tmp_path.iterdir()) == []


def test_no_tracker_at_all(tmp_path: Path) -> None:
    assert open_trackers([], tmp_path, 0) == []
    (tracker,) = open_trackers(["tensorboard", "tensorboard"], tmp_path, 0)
    tracker.close()
    assert [path.name for path in tmp_path.iterdir()] == ["tensorboard"]
