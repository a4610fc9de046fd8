"""Absent pixels of an output: by NaN, by the nodata value, by opacity."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vqkit.errors import DataError
from vqkit.image_io.rasters.absence import Mask, equal_to, representable
from vqkit.image_io.rasters.contract import RasterInfo

Means = Literal["value", "mark"]


def says_absent_by(info: RasterInfo) -> Means:
    """How a file says which pixels are absent: by a value (nodata, or NaN in floating point), or by a mark (opacity, a mask)."""
    return "value" if info.dtype.kind == "f" or representable(info.nodata, info.dtype) is not None else "mark"


def with_gaps(values: NDArray[Any], present: Mask | None, info: RasterInfo) -> NDArray[Any]:
    """Values [C, h, w] in which absent pixels hold the nodata value, or NaN where there is none.

    A present pixel that happens to have the nodata value would be read as absent: it gets the next value. It is never one that was
    given, which would have been absent; only one that was filled in.
    """
    if says_absent_by(info) != "value":
        return values
    nodata = representable(info.nodata, info.dtype)
    equal = equal_to(values, info.nodata)
    if equal is not None:
        if info.is_colour:
            equal = np.broadcast_to(equal.all(axis=0), values.shape)
        if present is not None:
            equal = equal & present
        if equal.any():
            values = np.where(equal, _next(nodata, info.dtype), values)
    if present is None or present.all():
        return values
    return np.where(present, values, np.array(np.nan if nodata is None else nodata, info.dtype))


def _next(nodata: Any, dtype: np.dtype[Any]) -> Any:
    """The value beside a nodata value, towards zero if there is one."""
    if dtype.kind == "f":
        return np.nextafter(nodata, dtype.type(0) if nodata else dtype.type(1), dtype=dtype)
    return dtype.type(int(nodata) - 1 if nodata > 0 else int(nodata) + 1)


def one_mark(present: Mask | None, info: RasterInfo) -> Mask | None:
    """What is present as [h, w], for formats that mark whole pixels; None if everything is.

    Raises `DataError` if channels of a pixel differ in it.
    """
    if present is None or present.all():
        return None
    mark = present[0]
    if not (present == mark).all():
        raise DataError(
            f"{info.path}: pixels without data in some channels only cannot be written as {info.format} of {info.dtype}.",
            "Set data.nodata to a value that means no data, or write .npy in floating point.",
        )
    return mark


def cannot_mark(info: RasterInfo) -> DataError:
    """The error of a format that has no way to say that pixels are absent."""
    return DataError(
        f"{info.path}: {info.format} of {info.dtype} cannot say that pixels hold no data.",
        "Set data.nodata to a value that means no data, or write another format: docs/formats.md lists them.",
    )
