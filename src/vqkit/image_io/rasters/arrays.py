"""Images in NumPy files: `.npy` read by windows, and an `.npz` that holds one array. Nothing is ever unpickled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.errors import DataError
from vqkit.image_io.array_headers import PARSING, check_archive, check_array_file
from vqkit.image_io.rasters.absence import checked_pixels
from vqkit.image_io.rasters.contract import MAX_READ_BYTES, FileTags, Layout, Raster, RasterInfo, RasterPixels, Window
from vqkit.image_io.rasters.failures import check_dtype, reading_errors
from vqkit.image_io.rasters.mapping import StoredPlanes

NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"


class ArrayRaster(Raster):
    """An array [H, W], [C, H, W] or [H, W, C]; of the last two, the shorter of the first and last axis counts channels.

    bool becomes uint8 0 and 255, like a picture of one bit. Of a `.npy` no more is in memory than a window needs; the array of an
    `.npz` is decompressed as a whole.
    """

    def __init__(self, path: Path, nodata: float | None) -> None:
        self._array: NDArray[Any] | None = None
        with path.open("rb") as file:
            archived = file.read(4) == ZIP_MAGIC
        if archived:
            self._array = _only_array(path)
        array = self._open(path)
        channels_last = _channels_last(array.shape, path)
        check_dtype(path, np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype)
        planes = _planes(array, channels_last)
        dtype = np.dtype(np.uint8) if array.dtype == np.bool_ else array.dtype.newbyteorder("=")
        name = "NumPy archive" if archived else "NumPy array"
        self._channels_last = channels_last
        self._stored: StoredPlanes | None = None
        if isinstance(array, np.memmap) and array.flags.c_contiguous:
            count, height, width = planes.shape
            together = count if channels_last else 1
            self._stored = StoredPlanes(path, array.offset, array.dtype, count // together, height, width, together)
        layout: Layout = "pages" if array.ndim == 2 else "interleaved" if channels_last else "planar"
        tags = FileTags(layout=layout, compressed=archived)
        self.info = RasterInfo(path, name, *_size(planes), dtype, nodata=nodata, tags=tags)

    def _open(self, path: Path) -> NDArray[Any]:
        if self._array is not None:
            return self._array
        check_array_file(path)
        with PARSING:
            return np.load(path, mmap_mode="r", allow_pickle=False)

    def _read(self, window: Window, channels: tuple[int, ...]) -> RasterPixels:
        info = self.info
        with reading_errors(info.path, "array"):
            if self._stored is not None:
                values = self._stored.read(channels, window)
            else:
                planes = _planes(self._open(info.path), self._channels_last)
                values = np.array(planes[list(channels), window.rows, window.columns], planes.dtype.newbyteorder("="), order="C")
            if values.dtype == np.bool_:
                values = values.astype(np.uint8) * np.uint8(255)
        return checked_pixels(values, None, info)

    def close(self) -> None:
        """Forget the array."""
        self._array = None


def _channels_last(shape: Sequence[int], path: Path) -> bool:
    """Whether the last axis counts the channels. Raises `DataError` for shapes that are no image."""
    if len(shape) not in (2, 3) or 0 in shape:
        hint = "Store [H, W], [C, H, W] or [H, W, C]."
        raise DataError(f"The array {path} has the shape {tuple(shape)}, which is no picture.", hint)
    if len(shape) == 3 and shape[0] == shape[-1]:
        given = " x ".join(map(str, shape))
        hint = "Store another number of channels, or one file a channel."
        raise DataError(f"{path} is {given}: its first or its last axis may be the channels.", hint)
    return len(shape) == 3 and shape[-1] < shape[0]


def _planes(array: NDArray[Any], channels_last: bool) -> NDArray[Any]:
    """The array as [C, H, W]; a view."""
    if array.ndim == 2:
        return array[None]
    return np.moveaxis(array, -1, 0) if channels_last else array


def _size(planes: NDArray[Any]) -> tuple[int, int, int]:
    channels, height, width = planes.shape
    return channels, height, width


def _only_array(path: Path) -> NDArray[Any]:
    """The one array of an archive, whose size is looked at before it is decompressed."""
    headers = check_archive(path)
    if len(headers) != 1:
        known = ", ".join(headers) or "none"
        raise DataError(f"{path} holds {len(headers)} arrays where one image is expected: {known}.", "Save one array a file.")
    ((name, header),) = headers.items()
    if header.nbytes > MAX_READ_BYTES:
        raise DataError(
            f"{path} holds an array {header.shape} of type {header.dtype}, more than 2 GiB.", "Save it as .npy, read by parts."
        )
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive[name])
