from __future__ import annotations

import numpy as np
import pytest

from vqkit.errors import DataError
from vqkit.image_io import values
from vqkit.image_io.values import channel_axis, channel_names, to_bytes


def test_bytes_stay_without_a_copy() -> None:
    array = np.array([0, 7, 255], dtype=np.uint8)
    assert to_bytes(array, "x") is array


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([True, False]), [255, 0]),
        (np.array([0, 1, 1], dtype=np.uint8), [0, 255, 255]),
        (np.array([0, 0], dtype=np.uint8), [0, 0]),
        (np.array([0.0, 0.5, 1.0], dtype=np.float32), [0, 128, 255]),
        (np.array([3 / 255, 254.4 / 255]), [3, 254]),
        (np.array([0, 200], dtype=np.int64), [0, 200]),
    ],
)
def test_values_of_every_kind_become_bytes(array: np.ndarray, expected: list[int]) -> None:
    converted = to_bytes(array, "x")
    assert converted.dtype == np.uint8
    assert converted.tolist() == expected


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.5, np.nan], [np.nan, 0.0]]), "The array 'a' holds 2 NaN among its 4 values"),
        (np.array([0.0, 1.5]), "from 0 to 1.5 where floating point numbers from 0 to 1"),
        (np.array([-0.5, 0.5]), "from -0.5 to 0.5"),
        (np.array([0.5, np.inf]), "from 0.5 to inf"),
        (np.array([0, 300]), "from 0 to 300 where whole numbers from 0 to 255"),
        (np.array(["a"]), "type <U1, which are not pixel values"),
        (np.array([1j]), "type complex128"),
    ],
)
def test_other_values_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(DataError) as refused:
        to_bytes(array, "The array 'a'")
    assert message in refused.value.message
    assert refused.value.hint


def test_a_value_out_of_range_is_found_in_every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "_CHUNK_VALUES", 4)
    array = np.linspace(0, 1, 30).reshape(15, 2)
    assert to_bytes(array, "x").tolist() == np.rint(array * 255).astype(int).tolist()
    array[-1, -1] = np.nan
    with pytest.raises(DataError, match="1 NaN"):
        to_bytes(array, "x")


def test_the_shorter_outer_axis_counts_channels() -> None:
    assert channel_axis((3, 32, 32), "x") == 0
    assert channel_axis((32, 32, 3), "x") == -1
    with pytest.raises(DataError, match="x is 8 x 64 x 8"):
        channel_axis((8, 64, 8), "x")


def test_channels_have_names() -> None:
    assert channel_names(1) == ("grey",)
    assert channel_names(3) == ("r", "g", "b")
    assert channel_names(2) == ("channel_1", "channel_2")
