from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from raster_samples import check_windows, read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import open_raster


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_nan_is_absent_in_its_channel(tmp_path: Path, dtype: str) -> None:
    array = values((2, 5, 6), dtype)
    array[1, 2, 3] = np.nan
    np.save(tmp_path / "a.npy", array)
    given, present = read(tmp_path / "a.npy")
    np.testing.assert_array_equal(given, array)
    assert present is not None and present.shape == array.shape
    np.testing.assert_array_equal(present, ~np.isnan(array))
    check_windows(tmp_path / "a.npy")


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_infinite_values_are_refused_with_their_number(tmp_path: Path, infinite: float) -> None:
    array = values((2, 5, 6), np.float32)
    array[0, 0, :3] = infinite
    array[1, 1, 1] = np.nan
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match="holds 3 infinite values among 60"):
        read(tmp_path / "a.npy")
    assert read(tmp_path / "a.npy", channels=[1]).present is not None  # the other channel has none
    given = read(tmp_path / "a.npy", nodata=infinite)
    assert given.present is not None and (~given.present).sum() == 4


def test_infinite_values_outside_of_a_mask_do_not_matter(tmp_path: Path) -> None:
    array = np.ones((4, 5, 2), np.float32)
    array[1, 2] = (np.inf, 0)  # transparent
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
    present = read(tmp_path / "a.tif").present
    assert present is not None and np.argwhere(~present[0]).tolist() == [[1, 2]]


@pytest.mark.parametrize(
    ("dtype", "nodata", "is_found"),
    [
        ("uint16", 0, True),
        ("uint16", -9999, False),
        ("uint16", 0.5, False),
        ("int16", -9999, True),
        ("float32", -9999.9, True),
        ("float32", -3.4028234663852886e38, True),
        ("float16", -9999.9, True),
        ("float16", 1e30, False),
        ("float64", 1e30, True),
        ("uint8", float("nan"), False),
    ],
)
def test_the_nodata_value_is_one_of_the_dtype(tmp_path: Path, dtype: str, nodata: float, is_found: bool) -> None:
    array = np.full((4, 4), 7, dtype)
    if is_found:
        array[1, 2] = np.dtype(dtype).type(nodata)
    np.save(tmp_path / "a.npy", array)
    with open_raster(tmp_path / "a.npy", nodata=nodata) as raster:
        assert raster.info.nodata == nodata or np.isnan(nodata)
        present = raster.read().present
    if is_found:
        assert present is not None and np.argwhere(~present).tolist() == [[0, 1, 2]]
    else:
        assert present is None


def test_a_colour_is_absent_where_all_of_its_channels_are_nodata(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 3), 9, np.uint8)
    pixels[0, 0] = 0
    pixels[1, 1] = (0, 0, 200)  # a blue that is meant
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for channels in (None, [0], [2, 1]):
        present = read(tmp_path / "a.png", channels=channels, nodata=0).present
        assert present is not None and np.argwhere(~present).tolist() == [[0, 0, 0]]
