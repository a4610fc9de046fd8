from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from raster_samples import DTYPES, check_windows, read, values

from vqkit.errors import DataError
from vqkit.image_io.rasters import arrays as raster_arrays
from vqkit.image_io.rasters import open_raster


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "uint64"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_arrays_of_every_type_and_byte_order_are_exact(tmp_path: Path, dtype: str, order: str, suffix: str) -> None:
    array = values((3, 8, 9), np.dtype(dtype).newbyteorder(order))
    path = tmp_path / f"a.{suffix}"
    np.save(path, array) if suffix == "npy" else np.savez(path, array)
    with open_raster(path) as raster:
        assert raster.info.dtype == np.dtype(dtype) and raster.info.dtype.isnative
        given, present = raster.read()
    np.testing.assert_array_equal(given, array)
    assert given.dtype == np.dtype(dtype) and given.dtype.isnative and present is None
    check_windows(path)


@pytest.mark.parametrize(
    ("shape", "channels"), [((8, 9), (1, 8, 9)), ((8, 9, 3), (3, 8, 9)), ((3, 8, 9), (3, 8, 9)), ((8, 9, 1), (1, 8, 9))]
)
def test_the_shorter_axis_counts_the_channels(tmp_path: Path, shape: tuple[int, ...], channels: tuple[int, ...]) -> None:
    array = values(shape, np.int16)
    np.save(tmp_path / "a.npy", array)
    expected = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0) if shape[0] == 8 else array
    given = read(tmp_path / "a.npy").values
    assert given.shape == channels
    np.testing.assert_array_equal(given, expected)
    check_windows(tmp_path / "a.npy")


def test_arrays_in_columns_first_order_are_read(tmp_path: Path) -> None:
    array = np.asfortranarray(values((3, 8, 9), np.uint16))
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read(tmp_path / "a.npy").values, array)


def test_bool_is_a_picture_of_one_bit(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[True, False]]))
    given = read(tmp_path / "a.npy").values
    assert given.dtype == np.uint8 and given.tolist() == [[[255, 0]]]


@pytest.mark.parametrize("shape", [(8,), (2, 2, 8, 8), (0, 4, 4), (4, 5, 4)])
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape))
    with pytest.raises(DataError, match=r"a\.npy"):
        open_raster(tmp_path / "a.npy")


@pytest.mark.parametrize("array", [np.zeros((4, 4), complex), np.full((4, 4), "a"), np.zeros((4, 4), "M8[s]")])
def test_other_values_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=r"a.npy holds values of type .* not pixel values"):
        open_raster(tmp_path / "a.npy")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    for name, save in (("a.npy", np.save), ("a.npz", np.savez)):
        save(tmp_path / name, np.array([[{}]], dtype=object))
        with pytest.raises(DataError, match=r"vqkit never does|not pixel values"):
            open_raster(tmp_path / name)


def test_an_archive_of_several_arrays_is_no_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 4)), y=np.zeros((4, 4)))
    with pytest.raises(DataError, match="holds 2 arrays where one image is expected: x, y"):
        open_raster(tmp_path / "a.npz")


def test_the_size_in_an_archive_is_looked_at_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raster_arrays, "MAX_READ_BYTES", 1000)
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros((10, 20)))
    with pytest.raises(DataError, match=r"an array \(10, 20\) of type float64, more than 2 GiB"):
        open_raster(tmp_path / "a.npz")


def test_what_is_too_large_is_read_by_windows_only(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (3, 30000, 30000))  # takes no space on the disk
    array[2, 29999, 29999] = 7
    del array
    with open_raster(path) as raster:
        with pytest.raises(DataError, match=r"too large to be read at once: 3 x 30000 x 30000 values of type uint8 take 2.5 GiB"):
            raster.read()
        check = raster.read(raster.info.whole._replace(top=29999, left=29999, height=1, width=1))
    assert check.values.ravel().tolist() == [0, 0, 7]
