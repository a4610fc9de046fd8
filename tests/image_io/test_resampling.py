from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.image_io.resampling import Axis, resample

RANDOM = torch.randint(0, 60000, (2, 12, 10), generator=torch.Generator().manual_seed(0)).numpy().astype(np.uint16)


def whole(values: np.ndarray, height: int, width: int, nearest: bool = False, present: np.ndarray | None = None) -> tuple:
    rows, columns = Axis(values.shape[-2], height, 0, height), Axis(values.shape[-1], width, 0, width)
    return resample(values, present, rows, columns, nearest)


def test_the_same_grid_changes_nothing() -> None:
    for nearest in (True, False):
        values, present = whole(RANDOM, 12, 10, nearest)
        assert values.dtype == np.uint16
        assert np.array_equal(values, RANDOM)
        assert present is None


@pytest.mark.parametrize("size", [(24, 20), (36, 15), (5, 7), (6, 30), (12, 3)])
def test_floats_are_those_of_pillow(size: tuple[int, int]) -> None:
    image = RANDOM[0].astype(np.float32)
    scaled = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    assert np.allclose(whole(image, *size)[0], np.asarray(scaled), rtol=1e-5)


def test_shapes_take_the_nearest_value() -> None:
    shape = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    assert np.array_equal(whole(shape, 6, 4, nearest=True)[0], shape.repeat(3, axis=0).repeat(2, axis=1))
    assert whole(np.arange(9, dtype=np.uint8)[None], 1, 3, nearest=True)[0].tolist() == [[1, 4, 7]]


def test_whole_numbers_are_rounded() -> None:
    assert whole(np.array([[0, 3]], dtype=np.uint8), 1, 4)[0].tolist() == [[0, 1, 2, 3]]
    assert whole(np.array([[-3, 0]], dtype=np.int16), 1, 4)[0].tolist() == [[-3, -2, -1, 0]]


@pytest.mark.parametrize("size", [(24, 20), (29, 13), (5, 6)])
@pytest.mark.parametrize("nearest", [True, False])
def test_a_window_equals_that_part_of_the_whole(size: tuple[int, int], nearest: bool) -> None:
    height, width = size
    expected, _ = whole(RANDOM, height, width, nearest)
    for top in range(0, height - 2, 3):
        rows, columns = Axis(12, height, top, 3), Axis(10, width, 2, width - 3)
        (first, length), (left, across) = rows.needed, columns.needed
        part, _ = resample(RANDOM[:, first : first + length, left : left + across], None, rows, columns, nearest)
        assert np.array_equal(part, expected[:, top : top + 3, 2 : width - 1])


def test_a_window_needs_little_of_the_source() -> None:
    assert Axis(1000, 2000, 500, 64).needed[1] <= 32 + 4
    assert Axis(1000, 500, 100, 64).needed[1] <= 128 + 6


def test_the_middle_may_be_cut_out() -> None:
    image = np.arange(12, dtype=np.float32).reshape(1, 12)
    rows, columns = Axis(1, 1, 0, 1), Axis(12, 4, 0, 4, offset=4.0, span=4.0)
    first, length = columns.needed
    part, _ = resample(image[:, first : first + length], None, rows, columns, False)
    assert part.tolist() == [[4, 5, 6, 7]]


def test_absent_pixels_have_no_weight() -> None:
    values = np.array([[10.0, np.nan, 30.0, 7777.0]], dtype=np.float32)
    present = np.array([[True, False, True, False]])
    doubled, shown = whole(values, 1, 8, present=present)
    assert shown is not None
    assert shown.tolist() == [[True, True, False, False, True, True, False, False]]
    assert doubled[shown].tolist() == [10, 10, 30, 30]
    halved, shown = whole(values, 1, 2, present=present)
    assert shown is not None
    assert shown.tolist() == [[True, False]]  # of the second, 3 of 7 parts are present
    assert halved[0, 0] == pytest.approx((3 * 10 + 1 * 30) / 4)
    poisoned = np.where(present, values, -1e30).astype(np.float32)
    again, _ = whole(poisoned, 1, 2, present=present)
    assert np.array_equal(halved, again)


def test_nothing_present_stays_absent() -> None:
    _, shown = whole(RANDOM, 24, 20, present=np.zeros((2, 1, 1), dtype=bool))
    assert shown is not None
    assert not shown.any()
