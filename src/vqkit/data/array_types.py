"""In which type the values of arrays are kept: their own, in native byte order, or the smallest that holds them exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.errors import DataError
from vqkit.interfaces.components import DTYPES

_NARROW = ("uint8", "int8", "uint16", "int16", "uint32", "int32")
"""Types to which whole numbers are narrowed: the first that holds all of them."""
_CHUNK_VALUES = 2**24


def stored_type(arrays: Mapping[str, NDArray[Any]], path: Path) -> np.dtype[Any]:
    """The type in which all arrays of images of a file, by name, are kept.

    A type of `DTYPES` stays as it is. bool becomes uint8 (0 and 255). Other whole numbers, and those of splits whose types differ,
    get the smallest type that holds all of them exactly; of several floating point types, the widest is kept. Raises `DataError`
    for anything else: complex numbers, text, whole numbers beyond 32 bits, and splits of which only some hold whole numbers.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise DataError(
                f"The array '{name}' of {path} holds values of type {array.dtype}, which are not pixel values.",
                f"Store bool, {', '.join(DTYPES)}.",
            )
    different = {_native(array.dtype) for array in arrays.values()}
    if len(different) == 1 and (only := next(iter(different))).name in DTYPES:
        return only
    kinds = {dtype.kind for dtype in different}
    if kinds == {"f"}:
        return np.result_type(*different)
    if "f" in kinds or any(array.dtype == np.bool_ for array in arrays.values()):
        given = ", ".join(f"{name} {array.dtype}" for name, array in arrays.items())
        raise DataError(
            f"The arrays of images of {path} have types that do not mean the same: {given}.", "Store all splits in one type."
        )
    return _narrowest(arrays, path)


def as_stored(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array in the type that `stored_type` chose; the same array, without a copy, if that is its own."""
    if array.dtype == np.bool_:
        return array.astype(dtype) * dtype.type(255)
    return array.astype(dtype, copy=False)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype.newbyteorder("=")


def _narrowest(arrays: Mapping[str, NDArray[Any]], path: Path) -> np.dtype[Any]:
    """The smallest type of whole numbers that holds all values. Raises `DataError` naming the array for which there is none."""
    extremes = {name: _extremes(array) for name, array in arrays.items()}
    low, high = min(each[0] for each in extremes.values()), max(each[1] for each in extremes.values())
    for name in _NARROW:
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return np.dtype(name)
    name = next((name for name, each in extremes.items() if each[0] < -(2**31) or each[1] >= 2**32), next(iter(arrays)))
    raise DataError(
        f"The array '{name}' of {path} holds whole numbers from {extremes[name][0]} to {extremes[name][1]} ({arrays[name].dtype}); "
        f"no type of 32 bits holds the numbers from {low} to {high}.",
        "Store them as float64, or in other units.",
    )


def _extremes(array: NDArray[Any]) -> tuple[int, int]:
    ends = [(int(chunk.min()), int(chunk.max())) for chunk in chunks(array)]
    return min(low for low, _ in ends), max(high for _, high in ends)


def chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The rows of an array, as many at a time as fit into little memory."""
    rows = max(1, _CHUNK_VALUES // max(1, array[:1].size))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
