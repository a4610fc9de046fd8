"""`vqkit data preview`: its table, its warnings, its object, and its picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from vqkit.cli.data import data_app
from vqkit.image_io.panels import overview
from vqkit.image_io.pictures import hatching
from vqkit.interfaces import ComponentSpec, DataSpec, ShownImages

BANDS = tuple(f"B{number:02d}" for number in range(1, 14))
NAMES = f"data.components=[{','.join(BANDS)}]"
EMPTY = pytest.mark.filterwarnings("ignore:The component B03 is 0 in every pixel")


def run(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(data_app, ["preview", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Thirteen bands in 16 bits, of which the third is empty, the fourth saturated, and one test image is a training image."""
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randint(100, 4000, (count, 13, 16, 16), generator=generator) for count in (20, 4))
    train, test = (each.numpy().astype(np.uint16) for each in drawn)
    for images in (train, test):
        images[:, 2] = 0
        images[:, 3] = images[:, 3].clip(0, 3000)
    test[1] = train[11]
    np.savez(tmp_path / "scenes.npz", train=train, test=test)
    return tmp_path / "scenes.npz"


@EMPTY
def test_every_component_has_a_row_and_what_is_wrong_is_said(scenes: Path, tmp_path: Path) -> None:
    output = run(str(scenes), "--set", NAMES, "--set", "data.unit=DN", "--out", str(tmp_path / "p.png"))
    lines = output.splitlines()
    rows = [line.split() for line in lines if line.startswith("B")]
    assert [row[0] for row in rows] == list(BANDS) and all(row[1] == "uint16" and row[-2:] == ["100", "%"] for row in rows)
    assert "values of all 19 train images" in lines
    assert "warning: B03 is empty: 0 in every pixel that is present." in lines
    assert any(line.startswith("warning: B04 is saturated: ") and "3000" in line for line in lines)
    assert sum(line.startswith("warning: B") for line in lines) == 2
    assert lines[-1] == f"4 of 19 train images shown in {tmp_path / 'p.png'}"


@EMPTY
def test_the_object_holds_the_same(scenes: Path, tmp_path: Path) -> None:
    found = json.loads(run(str(scenes), "--set", NAMES, "--json", "--limit", "7", "--out", str(tmp_path / "p.png")))
    assert (found["split"], found["images"], found["looked_at"]) == ("train", 19, 7)
    assert found["display"] == ["B04", "B03", "B02"] and found["picture"] == str(tmp_path / "p.png")
    assert [each["name"] for each in found["components"]] == list(BANDS)
    assert {"low", "high", "p1", "p50", "p99", "minimum", "maximum", "present", "dtype", "unit"} <= found["components"][0].keys()
    assert found["components"][2]["maximum"] == 0 and found["components"][3]["maximum"] == 3000
    assert len(found["warnings"]) == 2


@EMPTY
def test_duplicates_across_splits_are_said(scenes: Path, tmp_path: Path) -> None:
    output = run(str(scenes), "--split", "test", "--set", NAMES, "--out", str(tmp_path / "p.png"))
    shared = [line for line in output.splitlines() if "both in" in line]
    assert len(shared) == 1 and "such as 000001 (test)" in shared[0]


def test_the_picture_shows_every_component_and_hatches_what_is_absent(tmp_path: Path) -> None:
    images = torch.rand(6, 4, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
    images[0, 2] = np.nan
    np.save(tmp_path / "x.npy", images)
    run(str(tmp_path / "x.npy"), "--set", "data.range=[0, 1]", "--num", "1", "--out", str(tmp_path / "p.png"))
    train = np.load(tmp_path / "x.npy")
    with Image.open(tmp_path / "p.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    hatched = hatching(8, 8)[0].numpy().repeat(16, axis=0).repeat(16, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels[..., 0], hatched.shape)
    assert (windows == hatched).all(axis=(-1, -2)).sum() == 1
    spec = DataSpec("x", tuple(ComponentSpec(f"channel_{number}", dtype="float32", low=0, high=1) for number in range(1, 5)), 8, 8)
    values = torch.from_numpy(np.nan_to_num(train[:1]))
    expected = overview([("000000", ShownImages(values, torch.from_numpy(~np.isnan(train[:1]))))], spec)
    assert np.array_equal(pixels, np.asarray(expected))


@EMPTY
def test_display_chooses_the_composite(scenes: Path, tmp_path: Path) -> None:
    chosen = ["--set", NAMES, "--set", "data.display=[B08, B04, B03]", "--json", "--out", str(tmp_path / "p.png")]
    assert json.loads(run(str(scenes), *chosen))["display"] == ["B08", "B04", "B03"]
