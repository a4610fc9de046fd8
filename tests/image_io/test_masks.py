"""Mask pictures: which value is white, and which sizes fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import SHAPES, noise
from vqkit.errors import DataError
from vqkit.image_io.masks import read_mask
from vqkit.image_io.rasters import RasterInfo, write_raster

HOLE = np.zeros((8, 12), bool)
HOLE[2:5, 3:9] = True


def save(path: Path, values: np.ndarray) -> Path:
    write_raster(path, values if values.ndim == 3 else values[None])
    return path


def kept(path: Path) -> np.ndarray:
    return read_mask(path, SHAPES).kept(8, 12, SHAPES).numpy()


@pytest.mark.parametrize(
    ("low", "high", "dtype", "suffix"),
    [
        (0, 255, "uint8", ".png"),
        (0, 1, "uint8", ".png"),
        (0, 128, "uint8", ".bmp"),
        (3, 4, "uint8", ".tif"),
        (0, 65535, "uint16", ".png"),
        (0, 1, "uint16", ".tif"),
        (-1, 0, "int16", ".tif"),
        (0, 1, "float32", ".tif"),
        (0, 1000, "int32", ".npy"),
    ],
)
def test_of_two_values_the_larger_is_white(tmp_path: Path, low: int, high: int, dtype: str, suffix: str) -> None:
    path = save(tmp_path / f"mask{suffix}", np.where(HOLE, high, low).astype(dtype))
    assert np.array_equal(kept(path), ~HOLE[None])


def test_masks_of_booleans_and_in_colour(tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", HOLE)
    Image.fromarray(HOLE).save(tmp_path / "bits.png")
    Image.fromarray(HOLE.astype(np.uint8) * 255).convert("RGB").save(tmp_path / "colour.bmp")
    for name in ("mask.npy", "bits.png", "colour.bmp"):
        assert np.array_equal(kept(tmp_path / name), ~HOLE[None]), name


def test_of_more_values_the_upper_half_is_white(tmp_path: Path) -> None:
    soft = np.linspace(0, 1, 96).reshape(8, 12)
    for dtype, top, suffix in (("uint8", 255, ".png"), ("uint16", 65535, ".png"), ("float32", 1, ".tif")):
        values = (soft * top).astype(dtype)
        white = values >= {255: 128, 65535: 32768, 1: 0.5}[top]
        assert np.array_equal(kept(save(tmp_path / f"{dtype}{suffix}", values)), ~white[None])


@pytest.mark.parametrize("values", [np.arange(96).reshape(8, 12) % 3, np.arange(96).reshape(8, 12) % 3 * 1000])
def test_labels_are_no_mask(tmp_path: Path, values: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"holds more than two values, from 0 to 2(000)?\. Give one of two values"):
        read_mask(save(tmp_path / "mask.tif", values.astype(np.uint16)), SHAPES)


def test_a_mask_without_white_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no white pixels, so nothing is to be filled in"):
        read_mask(save(tmp_path / "mask.png", np.zeros((8, 12), np.uint8)), SHAPES)


def test_a_mask_turned_by_its_orientation(tmp_path: Path) -> None:
    """A picture of a camera that was held upright: 8 x 12 pixels on disk, seen as 12 x 8."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.rot90(HOLE)  # rotated clockwise by whoever shows it
    Image.fromarray(turned.astype(np.uint8) * 255).save(tmp_path / "mask.png", exif=exif)
    assert np.array_equal(kept(tmp_path / "mask.png"), ~HOLE[None])


def test_one_mask_for_each_component(tmp_path: Path) -> None:
    each = np.stack([HOLE, ~HOLE, HOLE]).astype(np.uint8)
    side_by_side = np.concatenate(list(each), axis=1) * 255
    assert np.array_equal(kept(save(tmp_path / "strip.png", side_by_side)), each == 0)
    assert np.array_equal(kept(save(tmp_path / "pages.tif", each)), each == 0)
    named = RasterInfo(tmp_path / "x.tif", "OME-TIFF", 3, 8, 12, np.dtype(np.uint8), ("tread", "carcass", "belt"))
    write_raster(tmp_path / "named.ome.tif", each[[2, 0, 1]], None, named)
    assert np.array_equal(kept(tmp_path / "named.ome.tif"), each == 0)
    with pytest.raises(DataError, match="has 2 channels; the images have 3 components"):
        read_mask(save(tmp_path / "two.tif", each[:2]), SHAPES)


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    mask = read_mask(save(tmp_path / "mask.png", np.where(HOLE, 255, 0).astype(np.uint8)), SHAPES)
    with pytest.raises(DataError, match=r"12 wide and 8 high; the image is 20 wide and 10 high\..*, or 60 wide"):
        mask.kept(10, 20, SHAPES)


def test_transparent_pixels_are_not_white(tmp_path: Path) -> None:
    page = np.full((8, 12, 4), 255, np.uint8)
    page[..., 3] = HOLE * 255
    Image.fromarray(page).save(tmp_path / "mask.png")
    assert np.array_equal(kept(tmp_path / "mask.png"), ~HOLE[None])


def test_no_mask(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_mask(tmp_path / "none.png", SHAPES)
    (tmp_path / "text.png").write_text("none")
    with pytest.raises(DataError, match="cannot be read"):
        read_mask(tmp_path / "text.png", SHAPES)


def test_masks_are_tensors_of_what_is_kept(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.png", noise(8, 12, high=2))
    assert read_mask(path, SHAPES).kept(8, 12, SHAPES).dtype == torch.bool
