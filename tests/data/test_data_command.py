from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from vqkit.cli.data import data_app
from vqkit.data.opening import open_dataset
from vqkit.errors import ConfigError
from vqkit.image_io.rasters import open_raster

TINY = ["--set", "data.num_train=6", "--set", "data.num_val=3", "--set", "data.num_test=4"]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(data_app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.output


def test_preview_draws_a_grid(tmp_path: Path) -> None:
    output = run("preview", "tyre", "--num", "5", "--columns", "3", "--scale", "2", "--out", str(tmp_path / "grid.png"), *TINY)
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.size == (3 * (64 + 2) + 2, 2 * (128 + 2) + 2)
    assert "5 of 6 train images shown" in output
    assert "group_nc, group_km, bt, fpu, tpc (binary), 64 x 32 (height x width); conditions width_px, height_px" in output


def test_preview_refuses_a_file_that_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written to .*grid\.txt"):
        run("preview", "tyre", "--out", str(tmp_path / "grid.txt"), *TINY)


def test_export_writes_sections_and_says_what_to_type_next(tmp_path: Path) -> None:
    output = run("export", "tyre", "--split", "test", "--num", "2", "--out", str(tmp_path / "sections"), *TINY)
    first = tmp_path / "sections" / "group_nc" / "test_00000_group_nc.png"
    assert f"vqkit inpaint {first} --keep group_nc" in output
    assert first.is_file()
    assert len(list((tmp_path / "sections" / "composite").iterdir())) == 2


def test_prepare_packs_a_set_that_opens_again(tmp_path: Path) -> None:
    output = run("prepare", "tyre", "--out", str(tmp_path / "set.safetensors"), *TINY)
    assert "6 train, 3 val, 4 test images packed" in output
    assert open_dataset(str(tmp_path / "set.safetensors")).spec.name == "tyre"


def test_values_and_gaps_go_through_prepare_and_export(tmp_path: Path) -> None:
    values = np.linspace(-40, 60, 12 * 2 * 64).reshape(12, 2, 8, 8).astype(np.float32)
    values[0, 1, :3] = np.nan
    np.savez(tmp_path / "set.npz", train=values[:8], val=values[8:10], test=values[:2])
    packed = str(tmp_path / "set.safetensors")
    assert "8 train, 2 val, 2 test images packed" in run(
        "prepare", str(tmp_path / "set.npz"), "--out", packed, "--set", "data.components=[heat,rain]", "--set", "data.unit=K"
    )
    assert [each.unit for each in open_dataset(packed).spec.component_specs] == ["K", "K"]
    output = run("export", packed, "--out", str(tmp_path / "out"))
    assert f"next: vqkit inpaint {tmp_path}/out/heat/000000_heat.tif --keep heat" in output
    with open_raster(tmp_path / "out" / "rain" / "000000_rain.tif") as raster:
        assert np.array_equal(raster.read().values[0], values[0, 1], equal_nan=True)


def test_list_names_every_set_and_its_settings() -> None:
    listing = json.loads(run("list", "--json"))
    assert {"tyre", "components", "images", "arrays", "cifar10", "cifar100", "mnist", "fashion-mnist", "celeba"} <= listing.keys()
    assert listing["images"]["settings"]["memory_mb"]
    assert all(settings for entry in listing.values() for settings in entry["settings"].values()), "a setting has no description"
    assert "fashion-mnist" in run("list")
