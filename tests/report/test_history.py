from __future__ import annotations

import json
from pathlib import Path

import pytest

from vqkit.report.history import curve, read_history, training_seconds

ROWS = [
    {"step": 2, "train/loss": 3.0, "images_per_second": 10.0},
    {"step": 4, "train/loss": 2.0, "images_per_second": 20.0},
    {"step": 5, "train/loss": None, "val/psnr": 7.0},
]


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS) + '\n{"step": 6, "train/lo')
    rows = read_history(tmp_path)
    assert curve(rows, "train/loss") == ([2, 4], [3.0, 2.0])
    assert curve(rows, "val/psnr") == ([5], [7.0])
    # 2 steps of 8 images at 10 images/s, 2 at 20, and the last one, of which no rate was recorded, at 20 as well.
    assert training_seconds(rows, 8) == pytest.approx(1.6 + 0.8 + 0.4)


def test_a_run_without_records_has_no_history(tmp_path: Path) -> None:
    assert read_history(tmp_path) == []
    assert training_seconds([], 8) is None
    assert training_seconds([{"step": 5, "val/psnr": 7.0}], 8) is None


@pytest.mark.parametrize(
    "line", [b"\xff\xfe", b"[]", b"3", b"null", b'{"step": "x"}', b'{"loss": 1}', b'{"step": 2, "loss": [1]}', b"[" * 9999]
)
def test_damaged_lines_are_left_out(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "loss": null}\n' + line + b'\n{"step": 3, "loss": 0.5}\n')
    assert read_history(tmp_path) == [{"step": 1}, {"step": 3, "loss": 0.5}]
