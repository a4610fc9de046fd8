from __future__ import annotations

import numpy as np
import pytest
import torch

from vqkit.data.ranges import HIGH_SHARE, LOW_SHARE, ValueCounts

SHARES = (0.0, LOW_SHARE, 0.1, 0.5, HIGH_SHARE, 1.0)


def skewed(count: int, scale: float, shift: float = 0.0) -> np.ndarray:
    """Values with a long tail, as fluorescence has them."""
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    return (drawn.exp() * scale + shift).numpy()


def counted(values: np.ndarray, parts: int = 7) -> ValueCounts:
    counts = ValueCounts(values.dtype.name)
    for part in np.array_split(values, parts):
        counts.add(part)
    return counts


@pytest.mark.parametrize(
    ("dtype", "scale", "shift"),
    [("uint8", 20, 0), ("int8", 10, -100), ("uint16", 300, 0), ("int16", 2000, -20000), ("float16", 3, -10)],
)
def test_percentiles_of_small_types_are_those_of_numpy(dtype: str, scale: float, shift: float) -> None:
    info = np.finfo(dtype) if dtype == "float16" else np.iinfo(dtype)
    values = skewed(20011, scale, shift).clip(info.min, info.max).astype(dtype)
    counts = counted(values)
    assert (counts.count, counts.minimum, counts.maximum) == (20011, values.min(), values.max())
    for share in SHARES:
        assert counts.percentile(share) == pytest.approx(np.percentile(values.astype(np.float64), 100 * share), rel=1e-12)


@pytest.mark.parametrize(
    ("dtype", "scale", "shift"),
    [("float32", 1e-4, 0), ("float32", 2, 273), ("float64", 1e9, -1e9), ("uint32", 1e6, 0), ("int32", 1e6, -(10**9))],
)
def test_percentiles_of_large_types_are_within_their_error(dtype: str, scale: float, shift: float) -> None:
    values = skewed(20011, scale, shift)
    values[0] *= 2  # an outlier must not coarsen the rest
    values = values.astype(dtype)
    counts = counted(values)
    assert (counts.count, counts.minimum, counts.maximum) == (20011, values.min(), values.max())
    for share in SHARES:
        exact = np.percentile(values.astype(np.float64), 100 * share)
        assert abs(counts.percentile(share) - exact) <= 1e-4 * abs(exact)


def test_the_order_of_the_images_does_not_matter() -> None:
    values = skewed(5000, 1.0).astype(np.float32)
    forward, backward = counted(values), counted(values[::-1], parts=3)
    assert [forward.percentile(share) for share in SHARES] == [backward.percentile(share) for share in SHARES]


def test_absent_values_are_not_counted() -> None:
    values = np.array([[[1.0, np.nan], [3.0, -9999.0]], [[5.0, 7.0], [np.nan, np.nan]]], dtype=np.float32)
    present = np.array([[[1, 0], [1, 0]], [[1, 1], [0, 0]]], dtype=bool)
    counts = ValueCounts("float32")
    counts.add(values, present)
    assert (counts.count, counts.minimum, counts.maximum) == (4, 1.0, 7.0)
    counts.add(values, np.zeros((2, 1, 1), dtype=bool))
    assert counts.count == 4
    assert counts.percentile(0.5) == pytest.approx(4.0, rel=1e-4)


def test_many_values_at_once_are_counted_like_few() -> None:
    values = skewed(2**18 + 5, 1.0).astype(np.float32)
    at_once, in_parts = counted(values, parts=1), counted(values, parts=9)
    assert [at_once.percentile(share) for share in SHARES] == [in_parts.percentile(share) for share in SHARES]


def test_negative_zero_is_zero() -> None:
    for dtype in ("float16", "float32"):
        counts = ValueCounts(dtype)
        counts.add(np.array([-0.0, 0.0, -1.0, 1.0], dtype=dtype))
        assert counts.percentile(0.5) == pytest.approx(0.0, abs=1e-38)


def test_values_beyond_float32_are_counted_at_its_ends() -> None:
    counts = ValueCounts("float64")
    counts.add(np.array([-1e300, 0.0, 1e300]))
    assert (counts.minimum, counts.maximum) == (-1e300, 1e300)
    assert counts.percentile(1.0) == pytest.approx(np.finfo(np.float32).max, rel=1e-3)


def test_which_values_there_are() -> None:
    counts = ValueCounts("uint8")
    assert not counts.consists_of(0, 255)
    counts.add(np.array([0, 0], dtype=np.uint8))
    assert counts.consists_of(0, 255)
    assert not counts.consists_of(255)
    counts.add(np.array([255], dtype=np.uint8))
    assert counts.consists_of(0, 255)
    assert not counts.consists_of(0, 1)
    counts.add(np.array([254], dtype=np.uint8))
    assert not counts.consists_of(0, 255)


def test_nothing_counted_has_no_percentiles() -> None:
    with pytest.raises(ValueError, match="no values"):
        ValueCounts("uint16").percentile(0.5)
