"""TIFF, OME-TIFF and ImageJ's TIFF written through tifffile, in the layout of the input, by windows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from vqkit.image_io.rasters.absence import Mask, representable
from vqkit.image_io.rasters.contract import RasterInfo, RasterSink, Resolution, Window
from vqkit.image_io.rasters.gaps import cannot_mark, one_mark, says_absent_by, with_gaps
from vqkit.image_io.rasters.samples import inverted
from vqkit.image_io.rasters.tiff_metadata import GDAL_METADATA, GDAL_NODATA, gdal_metadata_text

_TILE = 256
_BIG_BYTES = 2**32 - 2**25
_PROFILE = 34675
_NO_RESOLUTION = Resolution(1, 1, 1)
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")


class TiffSink(RasterSink):
    """A TIFF. Written as a whole it is encoded at once; by windows, they go into a file without compression, encoded at the end.

    If the input has opacity, so has the output. A whole image with absent pixels that no value stands for gets opacity too.
    """

    def __init__(self, file: Path, info: RasterInfo) -> None:
        super().__init__(file, _writable(info))
        self._raw = file if not self.info.tags.compressed else file.with_name(file.name + ".raw")
        self._offset: int | None = None
        self._is_complete = False

    @property
    def _shape(self) -> tuple[int, ...]:
        """The shape of what is stored, opacity among it."""
        info = self.info
        samples = info.channels + info.tags.opacity
        if info.tags.layout == "interleaved":
            return (info.height, info.width, samples)
        return (samples, info.height, info.width)

    def write(self, window: Window, values: NDArray[Any], present: Mask | None) -> None:
        """Write a window."""
        info = self.info
        by_mark = says_absent_by(info) == "mark"
        mark = one_mark(present, info) if by_mark else None
        is_whole = window == info.whole
        if mark is not None and not info.tags.opacity:
            if not is_whole or info.format != "TIFF" or info.tags.zero_is_white:
                raise cannot_mark(info)
            self.info = info = replace(info, tags=replace(info.tags, opacity=True, layout="interleaved"))
        samples = with_gaps(values, present, info)
        if info.tags.zero_is_white:
            samples = inverted(samples)
        if info.tags.opacity:
            greatest = np.iinfo(info.dtype).max if info.dtype.kind in "iu" else 1
            opacity = np.full((1, window.height, window.width), greatest, info.dtype)
            if mark is not None:
                opacity[0][~mark] = 0
            samples = np.concatenate([samples, opacity])
        if info.tags.layout == "interleaved":
            samples = np.moveaxis(samples, 0, -1)
        if is_whole:
            self._encode(np.ascontiguousarray(samples))
        elif info.tags.layout == "interleaved":
            self._mapped()[window.rows, window.columns] = samples
        else:
            self._mapped()[:, window.rows, window.columns] = samples

    def _mapped(self) -> NDArray[Any]:
        """The raw file, mapped for one window only, so that what was written before does not stay in memory."""
        if self._offset is None:
            settings = _settings(self.info) if self._raw == self.file else {"metadata": None, "photometric": "minisblack"}
            settings.pop("compression", None)
            settings.pop("predictor", None)
            with tifffile.TiffWriter(self._raw, **_kind(self.info)) as writer:
                found = writer.write(shape=self._shape, dtype=self.info.dtype, returnoffset=True, **settings)
            if found is None:
                raise ValueError("a TIFF that is not contiguous")
            self._offset = found[0]
        return np.memmap(self._raw, self.info.dtype, "r+", self._offset, self._shape)

    def finish(self) -> None:
        """Encode what was written by windows."""
        if self._is_complete:
            return
        if self._offset is None:
            self._mapped()
        if self._raw != self.file:
            self._encode(None)
            self._raw.unlink()

    def abandon(self) -> None:
        """Remove the raw file."""
        if self._raw != self.file:
            with contextlib.suppress(OSError):
                self._raw.unlink()

    def _encode(self, samples: NDArray[Any] | None) -> None:
        """Write the final file: from memory, or tile by tile from the raw file."""
        settings = _settings(self.info)
        with tifffile.TiffWriter(self.file, **_kind(self.info)) as writer:
            if samples is not None:
                writer.write(samples, **settings)
                self._is_complete = True
            else:
                writer.write(self._tiles(), shape=self._shape, dtype=self.info.dtype, tile=(_TILE, _TILE), **settings)

    def _tiles(self) -> Iterator[NDArray[Any]]:
        """The tiles of the raw file in the order of the final one, the last of a row and column filled up with zeros."""
        info = self.info
        interleaved = info.tags.layout == "interleaved"
        for plane in range(1 if interleaved else self._shape[0]):
            for top in range(0, info.height, _TILE):
                for left in range(0, info.width, _TILE):
                    mapped = self._mapped()
                    part = mapped if interleaved else mapped[plane]
                    part = part[top : top + _TILE, left : left + _TILE]
                    tile = np.zeros((_TILE, _TILE, *part.shape[2:]), info.dtype)
                    tile[: part.shape[0], : part.shape[1]] = part
                    yield tile


def _writable(info: RasterInfo) -> RasterInfo:
    """The same with a format and a layout that can hold the image."""
    tags = info.tags
    format_ = info.format
    if format_ == "ImageJ TIFF" and (info.dtype.name not in _IMAGEJ_DTYPES or info.byte_count > _BIG_BYTES or tags.opacity):
        format_ = "TIFF"
    colour = info.is_colour and info.channels == 3
    layout = "interleaved" if colour or (tags.opacity and tags.layout == "pages") else tags.layout
    if format_ == "ImageJ TIFF":
        layout = "interleaved" if colour and info.dtype == np.uint8 else "pages"
    compressed = tags.compressed and format_ != "ImageJ TIFF"  # ImageJ reads no compressed hyperstacks
    inverted_too = tags.zero_is_white and info.channels == 1 and info.dtype.kind in "iu" and format_ == "TIFF"
    return replace(info, format=format_, tags=replace(tags, layout=layout, compressed=compressed, zero_is_white=inverted_too))


def _kind(info: RasterInfo) -> dict[str, Any]:
    size = info.byte_count * (info.channels + info.tags.opacity) // info.channels
    return {"bigtiff": size > _BIG_BYTES, "ome": info.format == "OME-TIFF", "imagej": info.format == "ImageJ TIFF"}


def _settings(info: RasterInfo) -> dict[str, Any]:
    """Arguments of `TiffWriter.write`."""
    tags = info.tags
    colour = info.is_colour and tags.layout == "interleaved"
    settings: dict[str, Any] = {
        "photometric": "rgb" if colour else "miniswhite" if tags.zero_is_white else "minisblack",
        "metadata": _metadata(info),
        "extratags": _extra_tags(info),
        "software": "vqkit" if info.format != "ImageJ TIFF" else None,
    }
    if tags.layout != "pages":
        settings["planarconfig"] = "contig" if tags.layout == "interleaved" else "separate"
        extra = info.channels + tags.opacity - (3 if colour else 1)
        if extra:
            settings["extrasamples"] = ["unspecified"] * (extra - tags.opacity) + ["unassalpha"] * tags.opacity
    if info.format == "TIFF":
        settings["description"] = _text(tags.description) or None
    if tags.compressed:
        settings |= {"compression": "zlib", "predictor": True if info.dtype.kind in "iu" else None}
    resolution = tags.resolution or _NO_RESOLUTION
    settings |= {"resolution": (resolution.across, resolution.down), "resolutionunit": resolution.unit}
    return settings


def _metadata(info: RasterInfo) -> dict[str, Any] | None:
    """What OME-XML or ImageJ's description say."""
    if info.format == "TIFF":
        return None
    interleaved = info.tags.layout == "interleaved"
    metadata: dict[str, Any] = {"axes": "YXS" if interleaved else "CYX"}
    if info.format == "ImageJ TIFF":
        metadata |= {key: _escaped(value) if key in ("unit", "vunit") else value for key, value in info.tags.imagej.items()}
        if info.names and not interleaved:
            metadata["Labels"] = list(info.names)
        return metadata
    if info.names and not interleaved:
        metadata["Channel"] = {"Name": list(info.names)}
    if info.tags.pixel_size is not None:
        height, width, unit = info.tags.pixel_size
        metadata |= {"PhysicalSizeY": height, "PhysicalSizeX": width, "PhysicalSizeYUnit": unit, "PhysicalSizeXUnit": unit}
    return metadata


def _extra_tags(info: RasterInfo) -> list[tuple[int, str, int | None, str | bytes, bool]]:
    """The nodata value, in a plain TIFF the names and units of channels, as GDAL writes them, and the colour profile."""
    texts = {}
    nodata = representable(info.nodata, info.dtype)
    if nodata is not None:
        texts[GDAL_NODATA] = nodata_text(inverted(np.array(nodata)) if info.tags.zero_is_white else nodata)
    if info.format == "TIFF":
        texts[GDAL_METADATA] = gdal_metadata_text(info.names, info.tags.units)
    tags: list[tuple[int, str, int | None, str | bytes, bool]] = [
        (code, "s", 0, _text(text), True) for code, text in texts.items() if text
    ]
    if info.tags.profile is not None:
        tags.append((_PROFILE, "B", None, info.tags.profile, True))
    return tags


def nodata_text(value: Any) -> str:
    """A nodata value as GDAL writes it."""
    return f"{float(value):.17g}" if np.asarray(value).dtype.kind == "f" else str(int(value))


def _escaped(text: str) -> str:
    """A text as ImageJ writes it into its description, which is ASCII: a Greek letter as \\u03bc."""
    return "".join(letter if letter.isascii() else f"\\u{ord(letter):04x}" for letter in str(text))


def _text(text: str) -> str | bytes:
    """A text as tifffile takes it: ASCII as it is, and whatever else there is, such as a unit with a Greek letter, as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace")
