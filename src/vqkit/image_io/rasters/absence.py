"""Which pixels hold no data: NaN, the nodata value, outside of a mask, fully transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.errors import DataError
from vqkit.image_io.rasters.contract import RasterInfo, RasterPixels

Mask = NDArray[np.bool_]


def checked_pixels(values: NDArray[Any], present: Mask | None, info: RasterInfo) -> RasterPixels:
    """Values [C, h, w] with what is present of them: `present` [C or 1, h, w] of the file's mask, without NaN and nodata.

    Of a colour picture those pixels are nodata that have the value in all channels. Raises `DataError` for infinite values, unless
    they are the nodata value: they are neither data nor a statement that there are none.
    """
    absent = equal_to(values, info.nodata)
    if absent is not None and info.is_colour:
        absent = np.asarray(absent.all(axis=0, keepdims=True))
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        if not finite.all():
            infinite = np.isinf(values)
            if absent is not None:
                infinite &= ~absent
            if present is not None:
                infinite &= present
            if infinite.any():
                message = f"{info.path} holds {int(infinite.sum())} infinite values among {values.size}."
                raise DataError(message, "Replace them by NaN where there are no data, or by what they stand for.")
            absent = ~finite if absent is None else absent | ~finite
    if absent is not None and absent.any():
        present = ~absent if present is None else present & ~absent
    return RasterPixels(values, None if present is None or present.all() else present)


def representable(nodata: float | None, dtype: np.dtype[Any]) -> Any:
    """A nodata value in a dtype, or None if no value of this dtype equals it (-9999 in a file of uint16)."""
    if nodata is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            cast = dtype.type(nodata)
        return cast if np.isfinite(cast) or not np.isfinite(nodata) else None
    limits = np.iinfo(dtype)
    return dtype.type(int(nodata)) if np.isfinite(nodata) and nodata == int(nodata) and limits.min <= nodata <= limits.max else None


def equal_to(values: NDArray[Any], nodata: float | None) -> Mask | None:
    """Where the values are the nodata value, or None if none of them can be."""
    value = representable(nodata, values.dtype)
    if value is None or np.isnan(value):  # NaN is absent whatever the nodata value
        return None
    equal: Mask = values == value
    return equal


def on_white(values: NDArray[np.uint8], opacity: NDArray[np.uint8], premultiplied: bool = False) -> NDArray[np.uint8]:
    """Eight-bit values [C, h, w] of a partly transparent picture, opacity [1, h, w], over white."""
    paint = opacity.astype(np.int32)
    light = 255 * (255 - paint)
    covered = values.astype(np.int32) * (255 if premultiplied else paint) + light
    return np.asarray(np.minimum((covered + 127) // 255, 255), dtype=np.uint8)
