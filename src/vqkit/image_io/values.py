"""Converting arrays of any origin to uint8 values and channels first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.errors import DataError

_CHUNK_VALUES = 2**24


def to_bytes(array: NDArray[Any], source: str) -> NDArray[np.uint8]:
    """Pixel values as uint8 of the same shape.

    uint8 is returned without a copy, unless its only values are 0 and 1, which become 0 and 255 as for bool; floating point
    numbers must lie in [0, 1] and are rounded to 1/255; other integers must lie in 0 ... 255. `source` names the array in errors.
    Raises `DataError` for NaN, for numbers outside these ranges and for other kinds of values.
    """
    if array.dtype == np.bool_:
        scaled: NDArray[np.uint8] = array.astype(np.uint8) * np.uint8(255)
        return scaled
    if array.dtype == np.uint8:
        return array * np.uint8(255) if array.size and array.max() == 1 else array
    if array.dtype.kind not in "iuf":
        hint = "Store uint8, bool, or floating point numbers from 0 to 1."
        raise DataError(f"{source} holds values of type {array.dtype}, which are not pixel values.", hint)
    result = np.empty(array.shape, dtype=np.uint8)
    rows = max(1, _CHUNK_VALUES // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        chunk = array[start : start + rows]
        low, high = float(chunk.min()), float(chunk.max())
        if not (low >= 0 and high <= (1 if array.dtype.kind == "f" else 255)):
            raise _out_of_range(array, source)
        result[start : start + rows] = np.rint(chunk.astype(np.float64) * 255) if array.dtype.kind == "f" else chunk
    return result


def _out_of_range(array: NDArray[Any], source: str) -> DataError:
    """What is wrong with an array that has NaN or values outside its range."""
    is_float = array.dtype.kind == "f"
    missing = int(np.isnan(array).sum()) if is_float else 0
    if missing:
        return DataError(f"{source} holds {missing} NaN among its {array.size} values.", "Replace them before training on it.")
    expected = "floating point numbers from 0 to 1" if is_float else "whole numbers from 0 to 255"
    return DataError(
        f"{source} holds values from {float(array.min()):g} to {float(array.max()):g} where {expected} are expected.",
        "Scale it to that range.",
    )


def tensor_of(array: NDArray[Any]) -> Tensor:
    """An array as a tensor, which shares its memory unless that is read-only or not contiguous."""
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def channel_axis(shape: Sequence[int], source: str) -> int:
    """Which of the first (0) and the last (-1) axis of an image's shape of length 3 counts its channels: the shorter one.

    Raises `DataError` when both are equally long.
    """
    if shape[0] == shape[-1]:
        given = " x ".join(map(str, shape))
        raise DataError(f"{source} is {given}: its first or its last axis may be the channels.", "Set data.layout to NCHW or NHWC.")
    return 0 if shape[0] < shape[-1] else -1


def channel_names(count: int) -> tuple[str, ...]:
    """Names for the channels of pictures that have none: grey, or r g b, or channel_1 ... channel_n."""
    common = {1: ("grey",), 3: ("r", "g", "b")}
    return common.get(count, tuple(f"channel_{number}" for number in range(1, count + 1)))


def one_hot_images(label_maps: Tensor, components: int) -> Tensor:
    """Label maps uint8 [B, H, W] (0: background) as images uint8 [B, C, H, W] of 0 and 255."""
    values = torch.arange(1, components + 1, dtype=torch.uint8)
    return (label_maps[:, None] == values[None, :, None, None]).to(torch.uint8).mul_(255)
