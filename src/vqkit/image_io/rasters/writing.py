"""Writing images in the format, dtype and with the tags of the file they were made from."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vqkit.image_io.rasters.contract import RasterInfo, Window


def write_raster(
    path: Path, values: NDArray[Any], present: NDArray[np.bool_] | None = None, like: RasterInfo | None = None
) -> None:
    """Write an image [C, H, W], atomically, in the format that the suffix of `path` names, with the tags of `like`.

    `present` is bool [C or 1, H, W], False for pixels without data, or None. The file has the dtype of `values`. Names, units and
    nodata are those of `like` if it has as many channels; values of another size than `like` are taken to cover the same area.
    Raises `DataError` if the format cannot hold these values, or cannot say that pixels are absent, and `OSError` if nothing can
    be written.
    """
    raise NotImplementedError


class RasterWriter:
    """Writes an image by windows, in bounded memory for TIFF, GeoTIFF, OME-Zarr and .npy; others are collected first.

    A context manager: `path` appears, whole, when the block ends without an error. Errors are those of `write_raster`.
    """

    def __init__(self, path: Path, like: RasterInfo | None, channels: int, height: int, width: int, dtype: DTypeLike) -> None:
        raise NotImplementedError

    def write(self, window: Window, values: NDArray[Any], present: NDArray[np.bool_] | None = None) -> None:
        """Write a window: values [C, h, w] and which of them are present. Each pixel is to be written once."""
        raise NotImplementedError

    def __enter__(self) -> RasterWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        raise NotImplementedError


def lossless_suffix(info: RasterInfo) -> str:
    """The suffix of an output that keeps every value: the input's own, or `.png` for lossy pictures and those never written."""
    raise NotImplementedError
