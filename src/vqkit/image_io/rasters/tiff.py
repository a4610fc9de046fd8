"""TIFF through tifffile: pages, interleaved and planar samples, any depth, tiles and compression, OME-TIFF, ImageJ and BigTIFF.

The pages of a TIFF are channels, in the order page by page, sample by sample. Extra samples that are said to be opacity are that;
all others are channels. Grey of 1, 2 or 4 bits has 8, scaled to 0..255, as in all pictures; a palette becomes red, green and blue;
where zero is white, values are inverted (greatest value - value), so that the image looks as viewers show it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from vqkit.errors import DataError
from vqkit.image_io.rasters.absence import Mask, checked_pixels
from vqkit.image_io.rasters.contract import FileTags, Layout, Raster, RasterInfo, RasterPixels, Window
from vqkit.image_io.rasters.failures import check_dtype, reading_errors
from vqkit.image_io.rasters.orientation import TAG, is_turned, seen, stored_window, valid
from vqkit.image_io.rasters.samples import SampleScale, through_palette, with_opacity
from vqkit.image_io.rasters.tiff_metadata import channel_metadata, imagej_kept, nodata_of, resolution_of, text_of
from vqkit.image_io.rasters.tiff_segments import PageReader

# What tifffile logs of odd metadata is either harmless or ends in a DataError here; without a handler Python prints it.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_CHANNEL_AXES = "CQI"
_PAGE_AXES = f"{_CHANNEL_AXES}YXS"
REDUCED_OR_MASK = 0b101
_ZERO_IS_WHITE, _RGB, _PALETTE, _YCBCR = 0, 2, 3, 6


class TiffRaster(Raster):
    """The image in a TIFF; it closes `tif`."""

    def __init__(self, path: Path, tif: tifffile.TiffFile, nodata: float | None) -> None:
        self._tif = tif
        series = main_series(tif, path)
        keyframe = series.keyframe
        self._pages = _page_count(series, path)
        self._reader = PageReader(path, series, self._pages)
        check_dtype(path, np.dtype(np.uint8) if self._reader.dtype == np.bool_ else self._reader.dtype)
        self._photometric = int(keyframe.photometric)
        self._scale = SampleScale(self._reader.dtype, _bits(keyframe), self._photometric == _ZERO_IS_WHITE)
        self._opacity, self._premultiplied = _opacity(keyframe)
        self._palette: NDArray[np.uint8] | None = None
        if self._photometric == _PALETTE:
            self._palette = (np.asarray(keyframe.colormap) >> 8).astype(np.uint8)
        self._samples = [sample for sample in range(self._reader.samples) if sample != self._opacity]
        self._per_page = 3 if self._palette is not None else len(self._samples)
        self._orientation = valid(int(keyframe.tags.valueof(TAG) or 1))
        self._stored_nodata = nodata_of(tif.pages.first)
        self.info = self._describe(path, keyframe, nodata)

    def _describe(self, path: Path, keyframe: tifffile.TiffPage, nodata: float | None) -> RasterInfo:
        channels = self._pages * self._per_page
        height, width = keyframe.imagelength, keyframe.imagewidth
        dtype = np.dtype(np.uint8) if self._palette is not None else self._scale.dtype
        described = channel_metadata(self._tif, channels)
        if nodata is None and self._palette is None:
            nodata = self._scale.shown_nodata(self._stored_nodata)
        kind = "OME-TIFF" if self._tif.is_ome else "ImageJ TIFF" if self._tif.is_imagej else "TIFF"
        tags = FileTags(
            pixel_size=described.pixel_size,
            resolution=resolution_of(keyframe),
            profile=keyframe.tags.valueof(34675) if self._palette is None else None,
            description=text_of(keyframe, 270) if kind == "TIFF" and not self._tif.is_shaped else "",
            layout=_layout(keyframe, self._pages),
            compressed=int(keyframe.compression) != 1,
            opacity=self._opacity is not None,
            zero_is_white=self._scale.is_inverted and self._scale.is_reversible,
            units=described.units,
            imagej=imagej_kept(self._tif) if kind == "ImageJ TIFF" else {},
        )
        units = set(described.units)
        return RasterInfo(
            path,
            kind,
            channels,
            *((width, height) if is_turned(self._orientation) else (height, width)),
            dtype,
            described.names,
            unit=units.pop() if len(units) == 1 else "",
            nodata=nodata,
            is_colour=channels == 3 and self._pages == 1 and (self._palette is not None or self._photometric in (_RGB, _YCBCR)),
            tags=tags,
        )

    def _read(self, window: Window, channels: tuple[int, ...]) -> RasterPixels:
        info = self.info
        place = stored_window(window, self._orientation, info.height, info.width)
        values = np.empty((len(channels), place.height, place.width), info.dtype)
        present: Mask | None = None
        with reading_errors(info.path):
            for page in dict.fromkeys(channel // self._per_page for channel in channels):
                positions = [position for position, channel in enumerate(channels) if channel // self._per_page == page]
                values[positions], seen_through = self._page(page, [channels[each] % self._per_page for each in positions], place)
                if seen_through is not None and self._pages == 1:
                    present = seen_through
                elif seen_through is not None:
                    present = np.ones(values.shape, np.bool_) if present is None else present
                    present[positions] = seen_through
            if self._orientation != 1:
                values = np.ascontiguousarray(seen(values, self._orientation))
                present = None if present is None else np.ascontiguousarray(seen(present, self._orientation))
            return checked_pixels(values, present, info)

    def _page(self, page: int, channels: list[int], place: Window) -> tuple[NDArray[Any], Mask | None]:
        """Some channels of a page, [channels, h, w], and which pixels are not fully transparent."""
        samples = [0] if self._palette is not None else [self._samples[channel] for channel in channels]
        wanted = samples if self._opacity is None else [*samples, self._opacity]
        stored = self._reader.read(page, wanted, place, self._stored_nodata or 0)
        if self._palette is not None:
            visible = None if self._stored_nodata is None else stored[:1] != self._stored_nodata
            return through_palette(stored[0], self._palette[channels]), visible
        values, opacity = self._scale.shown(stored[: len(samples)]), stored[len(samples) :]
        if not len(opacity):
            return values, None
        return with_opacity(values, opacity, self._premultiplied, self._per_page in (1, 3))

    def close(self) -> None:
        """Close the file."""
        self._tif.close()


def main_series(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """The one image of a TIFF, overviews and masks aside. Raises `DataError` if there are several."""
    found = [series for series in tif.series if not int(series.keyframe.subfiletype) & REDUCED_OR_MASK] or list(tif.series)
    if not found:
        raise ValueError("no image")
    found = _joined(found)
    if len(found) > 1 and not (tif.is_svs or tif.is_scn or tif.is_ndpi):  # slides: what follows are label and overview
        kinds = dict.fromkeys(f"{' x '.join(map(str, series.shape))} {series.dtype}" for series in found)
        hint = "Pages are channels of one image if they have one size and one type of values. Save each image as a file."
        if len(kinds) == 1:
            hint = "The file says that they are no channels of one image. Save each as a file, or all as channels (axis C)."
        raise DataError(f"{path} holds {len(found)} images ({', '.join(kinds)}) where one is expected.", hint)
    if found[0].is_multifile:
        message = f"{path} is one file of an OME-TIFF of several files."
        raise DataError(message, "Save the image as one file, for example with bfconvert.")
    return found[0]


def _joined(found: list[tifffile.TiffPageSeries]) -> list[tifffile.TiffPageSeries]:
    """The same, with pages that were written one by one as one series if they are alike.

    tifffile notes the shape of what each of its calls writes. So it takes the pages that a loop wrote for an image each, which
    it does not do with pages of other programs.
    """
    keyframes = [series.keyframe for series in found]
    single = all(
        series.kind == "shaped" and len(series.pages) == 1 and series.size == keyframe.size and set(series.axes) <= {*_PAGE_AXES}
        for series, keyframe in zip(found, keyframes, strict=True)
    )
    if len(found) < 2 or not single or len({keyframe.hash for keyframe in keyframes}) > 1:
        return found
    first = keyframes[0]
    shape, axes = (len(found), *first.shape), f"I{first.axes}"
    return [tifffile.TiffPageSeries(keyframes, shape, first.dtype, axes, kind="generic")]


def _page_count(series: tifffile.TiffPageSeries, path: Path) -> int:
    """The number of pages. Raises `DataError` for depth, time and other axes that are no channels."""
    long = [(axis, length) for axis, length in zip(series.axes, series.shape, strict=True) if axis not in "YXS" and length > 1]
    depth = series.keyframe.imagedepth
    if depth > 1 and "Z" not in series.axes:
        long.append(("Z", depth))
    if len(long) > 1 or any(axis not in _CHANNEL_AXES for axis, _ in long):
        axes = ", ".join(f"{length} along {axis} ({tifffile.TIFF.AXES_NAMES.get(axis, 'unknown')})" for axis, length in long)
        raise DataError(
            f"{path} has planes that are not channels of one image: {axes}.",
            "Save each plane as a file, or all planes as channels (axis C).",
        )
    keyframe = series.keyframe
    return int(np.prod(series.shape, dtype=np.int64)) // (keyframe.imagelength * keyframe.imagewidth * keyframe.samplesperpixel)


def _bits(keyframe: tifffile.TiffPage) -> int:
    """Bits a sample, as the file states them."""
    bits = keyframe.bitspersample
    return int(bits[0] if isinstance(bits, tuple) else bits)


def _opacity(keyframe: tifffile.TiffPage) -> tuple[int | None, bool]:
    """Which sample is opacity, if any, and whether the others are multiplied by it already."""
    first_extra = keyframe.samplesperpixel - len(keyframe.extrasamples)
    for number, kind in enumerate(keyframe.extrasamples):
        if int(kind) in (1, 2):
            return first_extra + number, int(kind) == 1
    return None, False


def _layout(keyframe: tifffile.TiffPage, pages: int) -> Layout:
    if pages > 1 or keyframe.samplesperpixel == 1:
        return "pages"
    return "planar" if int(keyframe.planarconfig) == 2 else "interleaved"
