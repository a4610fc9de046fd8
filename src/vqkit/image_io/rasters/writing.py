"""Writing images in the format, dtype and with the tags of the file they were made from."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vqkit.core.atomic import directory_atomically, write_atomically
from vqkit.errors import DataError
from vqkit.image_io.formats import FORMATS
from vqkit.image_io.rasters.array_writing import ArraySink
from vqkit.image_io.rasters.contract import RasterInfo, RasterSink, Window
from vqkit.image_io.rasters.failures import check_dtype
from vqkit.image_io.rasters.picture_writing import DTYPES, PictureSink, write_picture

_ARRAYS = ("NumPy array", "NumPy archive")
_TIFFS = ("TIFF", "OME-TIFF", "ImageJ TIFF", "GeoTIFF")
_WRITTEN = {
    suffix: each.name for each in FORMATS for suffix in each.suffixes if each.name in {*DTYPES, *_ARRAYS, "TIFF", "OME-Zarr"}
}
_LOSSLESS = {*DTYPES, *_ARRAYS, *_TIFFS, "OME-Zarr"} - {"JPEG"}


def write_raster(
    path: Path, values: NDArray[Any], present: NDArray[np.bool_] | None = None, like: RasterInfo | None = None
) -> None:
    """Write an image [C, H, W], atomically, in the format that the suffix of `path` names, with the tags of `like`.

    `present` is bool [C or 1, H, W], False for pixels without data, or None. The file has the dtype of `values`. Names, units and
    nodata are those of `like` if it has as many channels; values of another size than `like` are taken to cover the same area.
    Absent pixels hold the nodata value or NaN, or are marked by opacity or a mask. Raises `DataError` if the format cannot hold
    these values, or cannot say that pixels are absent, and `OSError` if nothing can be written.
    """
    channels, height, width = values.shape
    info = output_info(path, like, channels, height, width, values.dtype.newbyteorder("="))
    if info.format in DTYPES:
        with write_atomically(path) as file:
            write_picture(file, values.astype(info.dtype, copy=False), present, info)
        return
    with RasterWriter(path, like, channels, height, width, values.dtype) as writer:
        writer.write(Window(0, 0, height, width), values, present)


class RasterWriter:
    """Writes an image by windows, in bounded memory for TIFF, GeoTIFF, OME-Zarr and .npy; others are collected first.

    A context manager: `path` appears, whole, when the block ends without an error. Errors are those of `write_raster`; a TIFF
    without nodata value cannot say absent in whole numbers unless it is written as one window, or the input has opacity.
    """

    def __init__(self, path: Path, like: RasterInfo | None, channels: int, height: int, width: int, dtype: DTypeLike) -> None:
        self.info = output_info(path, like, channels, height, width, np.dtype(dtype).newbyteorder("="))
        self._stack = ExitStack()
        self._sink: RasterSink | None = None

    def write(self, window: Window, values: NDArray[Any], present: NDArray[np.bool_] | None = None) -> None:
        """Write a window: values [C, h, w] and which of them are present. Each pixel is to be written once."""
        if self._sink is None:
            raise ValueError("a RasterWriter writes inside its `with` block only")
        expected = (self.info.channels, window.height, window.width)
        if values.shape != expected or values.dtype.newbyteorder("=") != self.info.dtype:
            raise ValueError(f"{values.dtype} {values.shape} where {self.info.dtype} {expected} is expected")
        self._sink.write(window, values.astype(self.info.dtype, copy=False), present)

    def __enter__(self) -> RasterWriter:
        with ExitStack() as stack:
            is_directory = self.info.format == "OME-Zarr"
            open_atomically = directory_atomically if is_directory else write_atomically
            file = stack.enter_context(open_atomically(self.info.path))
            self._sink = _open_sink(file, self.info)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        sink, self._sink = self._sink, None
        if sink is None:
            return
        try:
            if kind is None:
                sink.finish()
        except BaseException as failure:
            sink.abandon()
            self._stack.__exit__(type(failure), failure, failure.__traceback__)
            raise
        if kind is not None:
            sink.abandon()
        self._stack.__exit__(kind, error, trace)


def lossless_suffix(info: RasterInfo) -> str:
    """The suffix of an output that keeps every value: the input's own, or one of a similar format.

    JPEG is lossy and GIF has a palette: their outputs are PNG, or TIFF for what PNG cannot hold. WebP and JPEG 2000 are written
    without loss, whatever the input was.
    """
    suffix = info.path.suffix.lower()
    if info.format in _LOSSLESS and suffix in _WRITTEN:
        return suffix
    fits = info.dtype in (np.uint8, np.uint16) and info.channels in (1, 3)
    return ".png" if fits else ".tif"


def output_info(path: Path, like: RasterInfo | None, channels: int, height: int, width: int, dtype: np.dtype[Any]) -> RasterInfo:
    """What the file to be written says. Raises `DataError` for a format that is not written, and values that are no pixels."""
    check_dtype(path, dtype)
    found = _format_of(path.suffix.lower(), like)
    if found is None:
        message = f"{path}: no image is written with the suffix {path.suffix or '(none)'}."
        raise DataError(message, f"Known: {', '.join(sorted(_WRITTEN))}.")
    if like is None:
        is_colour = channels == 3 and dtype == np.uint8
        return RasterInfo(path, found, channels, height, width, dtype, is_colour=is_colour)
    if (like.height, like.width) != (height, width):
        like = like.resized(height, width)
    tags = like.tags
    if channels != like.channels:
        nothing: dict[str, Any] = {"units": (), "scales": (), "offsets": (), "colours": (), "channel_tags": (), "imagej": {}}
        tags = replace(tags, profile=None, zero_is_white=False, **nothing)
    if tags.zero_is_white and dtype != like.dtype:
        tags = replace(tags, zero_is_white=False)
    if tags.opacity and found not in _TIFFS:
        tags = replace(tags, opacity=False)
    return RasterInfo(
        path,
        found,
        channels,
        height,
        width,
        dtype,
        names=like.names if channels == like.channels else (),
        unit=like.unit if channels == like.channels else "",
        nodata=like.nodata,
        is_colour=like.is_colour and channels == 3,
        tags=tags,
    )


def _format_of(suffix: str, like: RasterInfo | None) -> str | None:
    """The name of the format with a suffix; a TIFF is of the kind that `like` is, or that says the most of it."""
    found = _WRITTEN.get(suffix)
    if found != "TIFF":
        return found
    if like is None:
        return "TIFF"
    if like.format in _TIFFS:
        return like.format
    return "OME-TIFF" if like.names or like.tags.pixel_size is not None else "TIFF"


def _open_sink(file: Path, info: RasterInfo) -> RasterSink:
    if info.format in DTYPES:
        return PictureSink(file, info)
    if info.format in _ARRAYS:
        return ArraySink(file, info)
    if info.format == "OME-Zarr":
        from vqkit.image_io.rasters.ome_zarr_writing import ZarrSink  # zarr is optional

        return ZarrSink(file, info)
    if info.format == "GeoTIFF":
        from vqkit.image_io.rasters.geotiff_writing import GeotiffSink  # rasterio is optional

        return GeotiffSink(file, info)
    from vqkit.image_io.rasters.tiff_writing import TiffSink  # tifffile takes its time to import

    return TiffSink(file, info)
