"""Arrays keep their own type, or get the smallest that holds their values exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vqkit.data.array_types import as_stored, stored_type
from vqkit.errors import DataError
from vqkit.interfaces.components import DTYPES

PATH = Path("set.npz")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", DTYPES)
def test_supported_types_are_kept_in_native_byte_order(name: str, order: str) -> None:
    array = np.arange(10).astype(np.dtype(name).newbyteorder(order))
    dtype = stored_type({"train": array}, PATH)
    kept = as_stored(array, dtype)
    assert dtype == np.dtype(name) and dtype.isnative
    assert kept.dtype == dtype and kept.tolist() == array.tolist()
    assert np.shares_memory(kept, array) == array.dtype.isnative


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, "uint8"),
        (0, 255, "uint8"),
        (-1, 127, "int8"),
        (0, 256, "uint16"),
        (-129, 5, "int16"),
        (-1, 40000, "int32"),
        (0, 2**32 - 1, "uint32"),
        (-(2**31), 2**31 - 1, "int32"),
    ],
)
def test_whole_numbers_of_64_bits_get_the_smallest_type(low: int, high: int, expected: str) -> None:
    arrays = {"train": np.array([low, 0, 3]), "test": np.array([high, 1])}
    dtype = stored_type(arrays, PATH)
    assert dtype == np.dtype(expected)
    for array in arrays.values():
        assert as_stored(array, dtype).tolist() == array.tolist()


@pytest.mark.parametrize("values", [[-1, 2**31], [2**32], [-(2**40)]])
def test_whole_numbers_that_fit_no_type_are_refused(values: list[int]) -> None:
    with pytest.raises(DataError, match=rf"'train' of set\.npz holds whole numbers from {min(values)} to {max(values)}"):
        stored_type({"train": np.array(values)}, PATH)


def test_bool_is_nothing_and_everything() -> None:
    array = np.array([[False, True]])
    dtype = stored_type({"train": array}, PATH)
    assert (dtype, as_stored(array, dtype).tolist()) == (np.uint8, [[0, 255]])


def test_splits_of_several_types_get_one_that_holds_both() -> None:
    halves = {"train": np.array([0.5], dtype=np.float16), "test": np.array([0.1], dtype=np.float64)}
    assert stored_type(halves, PATH) == np.float64
    assert stored_type({"train": np.array([200], dtype=np.uint8), "test": np.array([-3], dtype=np.int8)}, PATH) == np.int16


@pytest.mark.parametrize("other", [np.array([0.5]), np.array([True])])
def test_types_that_do_not_mean_the_same_are_named(other: np.ndarray) -> None:
    with pytest.raises(DataError, match=rf"train int64, test {other.dtype}"):
        stored_type({"train": np.array([3]), "test": other}, PATH)


@pytest.mark.parametrize("dtype", ["complex64", "U3", "datetime64[s]"])
def test_other_types_are_no_pixels(dtype: str) -> None:
    with pytest.raises(DataError, match=r"'train' of set\.npz holds values of type"):
        stored_type({"train": np.zeros(3, dtype=dtype)}, PATH)
