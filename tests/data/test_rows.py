from __future__ import annotations

import numpy as np
import pytest
import torch

from vqkit.data.rows import BitRows, ChosenRows, JointRows, PresentRows, cut_row, pack_bits
from vqkit.image_io.rasters import Window


@pytest.mark.parametrize("width", [1, 7, 8, 13])
def test_bits_are_read_as_they_were_packed(width: int) -> None:
    present = torch.rand(5, 2, 3, width, generator=torch.Generator().manual_seed(width)) < 0.5
    bits = pack_bits(present)
    assert bits.shape == (5, 2, 3, -(-width // 8)) and bits.dtype == torch.uint8
    rows = BitRows(bits, width)
    assert len(rows) == 5
    assert torch.equal(rows[torch.tensor([4, 0, 4])], present[[4, 0, 4]])


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float16", "float32", "float64"])
def test_absent_are_nan_and_the_value_that_says_so(dtype: str) -> None:
    values = np.array([[[[0, 7]], [[7, 3]]], [[[7, 7]], [[1, 0]]]]).astype(dtype)
    expected = np.array([[[[1, 0]], [[1, 1]]], [[[0, 0]], [[1, 0]]]], dtype=bool)
    if dtype.startswith("float"):
        values[1, 1, 0, 0], expected[1, 1, 0, 0] = np.nan, False
    rows = PresentRows(torch.from_numpy(values), (7, 0))
    assert torch.equal(rows[torch.tensor([1, 0])], torch.from_numpy(expected[[1, 0]]))


def test_a_value_that_the_type_cannot_hold_is_nowhere() -> None:
    values = torch.zeros(2, 1, 2, 2, dtype=torch.uint16)
    assert bool(PresentRows(values, (-9999.0,))[torch.arange(2)].all())


def test_only_some_types_can_have_gaps() -> None:
    assert PresentRows(torch.zeros(1, 1, 1, 1), (None,)).can_have_gaps
    assert not PresentRows(torch.zeros(1, 1, 1, 1, dtype=torch.uint16), (None,)).can_have_gaps
    assert PresentRows(torch.zeros(1, 1, 1, 1, dtype=torch.uint16), (0,)).can_have_gaps


def test_rows_of_rows() -> None:
    by_component = torch.tensor([[True, False], [True, True]])[:, :, None, None]
    by_pixel = torch.tensor([[True, False], [True, True]])[:, None, None, :]
    joint = JointRows(by_component, by_pixel)
    assert joint[torch.tensor([0])].tolist() == [[[[True, False]], [[False, False]]]]
    chosen = ChosenRows(joint, torch.tensor([1, 0]))
    assert len(chosen) == 2
    assert torch.equal(chosen[torch.tensor([1])], joint[torch.tensor([0])])


def test_a_window_of_one_row_is_that_part_of_it() -> None:
    images = torch.arange(2 * 2 * 5 * 13, dtype=torch.int32).view(2, 2, 5, 13)
    present = torch.rand(2, 1, 5, 13, generator=torch.Generator().manual_seed(0)) < 0.5
    whole = torch.tensor([[True, False], [True, True]])[:, :, None, None]
    window = Window(1, 3, 3, 9)
    gaps = PresentRows(images, (7, None))
    bits = BitRows(pack_bits(present), 13)
    for rows in (images, bits, gaps, JointRows(gaps, bits), ChosenRows(JointRows(gaps, bits), torch.tensor([1, 0]))):
        for number in (0, 1):
            expected = rows[torch.tensor([number])][0][:, window.rows, window.columns]
            assert torch.equal(cut_row(rows, number, window), expected)
    assert torch.equal(cut_row(whole, 0, window), whole[0])
    assert torch.equal(cut_row(JointRows(whole, bits), 0, window), whole[0] & cut_row(bits, 0, window))
