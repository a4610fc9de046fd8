"""What an image file says about itself, its pixels by windows, and what every format implements: read this first.

C channels, H x W pixels. Values are those of the file, in its own dtype (native byte order), never scaled. Opacity is no channel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqkit.errors import DataError

MAX_READ_BYTES = 2**31
"""More than this is read by windows only."""

Layout = Literal["pages", "interleaved", "planar"]
"""How a TIFF holds its channels: one a page, the samples of a pixel side by side, or one plane of samples after the other."""


class Window(NamedTuple):
    """A part of an image, in pixels from its upper left corner, as the image is seen (after its orientation is applied)."""

    top: int
    left: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """The rows of the window."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """The columns of the window."""
        return slice(self.left, self.left + self.width)


class RasterPixels(NamedTuple):
    """Pixels of a window: `values` [C, h, w] in the file's dtype, and `present`, bool [C or 1, h, w], or None where all are.

    `values` of absent pixels are what the file holds there: NaN, the nodata value, or anything.
    """

    values: NDArray[Any]
    present: NDArray[np.bool_] | None = None


class PixelSize(NamedTuple):
    """Physical size of a pixel (OME: PhysicalSizeY and PhysicalSizeX with their unit)."""

    height: float
    width: float
    unit: str = "µm"


class Resolution(NamedTuple):
    """Pixels per unit of length, across and down; `unit` as TIFF counts it: 1 none, 2 inch, 3 centimetre."""

    across: float
    down: float
    unit: int = 2


@dataclass(frozen=True)
class Georeference:
    """Where an image lies on the ground.

    `crs` is well-known text ("" if none is given); `transform` the six numbers (a, b, c, d, e, f) with x = a column + b row + c and
    y = d column + e row + f, or None; `ground_control_points` (row, column, x, y, z) in `control_crs`; `rational` the coefficients
    of a rational polynomial camera (the RPC tags of GDAL).
    """

    crs: str = ""
    transform: tuple[float, float, float, float, float, float] | None = None
    ground_control_points: tuple[tuple[float, float, float, float, float], ...] = ()
    control_crs: str = ""
    rational: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FileTags:
    """What an output keeps of the file that it was made from, besides dtype, names and nodata.

    `units`, `scales`, `offsets`, `colours` and `channel_tags` hold one item a channel, or nothing. `text` are the texts of a
    GeoTIFF (GDAL's metadata), `imagej` what ImageJ says of units, display ranges and colours. `masked`: absent pixels are marked
    by a mask; `opacity`: by opacity. `zero_is_white`: a TIFF with photometric interpretation MinIsWhite. `version` of OME-Zarr is
    that of NGFF.
    """

    georeference: Georeference | None = None
    pixel_size: PixelSize | None = None
    resolution: Resolution | None = None
    profile: bytes | None = None
    description: str = ""
    layout: Layout = "pages"
    compressed: bool = True
    masked: bool = False
    opacity: bool = False
    zero_is_white: bool = False
    units: tuple[str, ...] = ()
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    colours: tuple[str, ...] = ()
    text: Mapping[str, str] = field(default_factory=dict)
    channel_tags: tuple[Mapping[str, str], ...] = ()
    imagej: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""


_NO_TAGS = FileTags()


@dataclass(frozen=True)
class RasterInfo:
    """What the header of an image file says: enough to plan the reading, and to write an output like it.

    `format` is a name of the table in docs/formats.md. `dtype` is in native byte order. `names` are the names of the channels, or
    () if the file has none; `unit` is that of the values, where all channels have the same. `nodata` is the value of absent pixels.
    `is_colour`: the channels are red, green and blue.
    """

    path: Path
    format: str
    channels: int
    height: int
    width: int
    dtype: np.dtype[Any]
    names: tuple[str, ...] = ()
    unit: str = ""
    nodata: float | None = None
    is_colour: bool = False
    tags: FileTags = _NO_TAGS

    @property
    def whole(self) -> Window:
        """The window that holds the whole image."""
        return Window(0, 0, self.height, self.width)

    @property
    def byte_count(self) -> int:
        """Memory of all values, in bytes."""
        return self.channels * self.height * self.width * self.dtype.itemsize

    def cropped(self, window: Window) -> RasterInfo:
        """The same for a part of the image: its georeference is moved."""
        return replace(self, height=window.height, width=window.width, tags=self._moved(window.left, window.top, 1, 1))

    def resized(self, height: int, width: int) -> RasterInfo:
        """The same for an image of another size that covers the same area: georeference and size of a pixel are scaled."""
        return replace(self, height=height, width=width, tags=self._moved(0, 0, self.height / height, self.width / width))

    def _moved(self, left: float, top: float, down: float, across: float) -> FileTags:
        """The tags of an image whose pixel (row, column) is (top + row * down, left + column * across) of this one."""
        place, size, resolution = self.tags.georeference, self.tags.pixel_size, self.tags.resolution
        if place is not None:
            points = tuple(
                ((row - top) / down, (column - left) / across, x, y, z) for row, column, x, y, z in place.ground_control_points
            )
            transform = place.transform
            if transform is not None:
                a, b, c, d, e, f = transform
                transform = (a * across, b * down, a * left + b * top + c, d * across, e * down, d * left + e * top + f)
            # A rational polynomial is one of the pixels of the whole image: it does not fit a part of it.
            place = replace(place, transform=transform, ground_control_points=points, rational={})
        if size is not None:
            size = PixelSize(size.height * down, size.width * across, size.unit)
        if resolution is not None:
            resolution = Resolution(resolution.across / across, resolution.down / down, resolution.unit)
        return replace(self.tags, georeference=place, pixel_size=size, resolution=resolution)


class Raster(ABC):
    """An open image file: `info` is known, pixels are read when they are asked for. A context manager.

    Not shared between threads: each opens its own.
    """

    info: RasterInfo

    def read(self, window: Window | None = None, channels: Sequence[int] | None = None) -> RasterPixels:
        """The pixels of a window (the whole image by default) and of some channels (all by default), in the order given.

        What is read in memory is little more than the window. Absent (`present` False) are NaN, the nodata value (of a
        colour picture: pixels that have it in all channels), pixels outside the file's mask, and fully transparent ones. Raises
        `DataError` for a file that is damaged, holds infinite values or, without a window, more than `MAX_READ_BYTES`; `ValueError`
        for a window or a channel outside the image.
        """
        info = self.info
        chosen = tuple(range(info.channels)) if channels is None else tuple(channels)
        if not all(0 <= channel < info.channels for channel in chosen):
            raise ValueError(f"channels {chosen} of an image that has {info.channels}")
        if window is None:
            if info.byte_count > MAX_READ_BYTES:
                size = f"{info.channels} x {info.height} x {info.width} values of type {info.dtype}"
                raise DataError(
                    f"{info.path} is too large to be read at once: {size} take {info.byte_count / 2**30:.1f} GiB.",
                    "At most 2 GiB are read at once: cut it, or fill it in by tiles.",
                )
            window = info.whole
        if info.is_colour and info.nodata is not None and len(chosen) < info.channels:
            # Whether a pixel of a colour picture is absent depends on all of its channels.
            values, present = self.read(window)
            return RasterPixels(values[list(chosen)], present)
        top, left, height, width = window
        if top < 0 or left < 0 or height < 1 or width < 1 or top + height > info.height or left + width > info.width:
            raise ValueError(f"{window} of an image {info.height} high and {info.width} wide")
        return self._read(window, chosen)

    def read_at_least(self, height: int, width: int) -> RasterPixels:
        """The whole image, perhaps smaller, yet no smaller than height x width: for formats that can be decoded at a fraction.

        Only a JPEG is ever smaller (1/2, 1/4 or 1/8); for every other file this is `read()`.
        """
        del height, width
        return self.read()

    @abstractmethod
    def _read(self, window: Window, channels: tuple[int, ...]) -> RasterPixels:
        """The same, for a window and channels that lie inside the image."""

    @abstractmethod
    def close(self) -> None:
        """Close the file. It may be called twice."""

    def __enter__(self) -> Raster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class RasterSink(ABC):
    """A file that is being written, of the size, dtype, names and tags of `info`: what every format implements for writing.

    Values are [C, h, w] in the dtype of `info`; present is bool [C or 1, h, w], or None where all are.
    """

    def __init__(self, file: Path, info: RasterInfo) -> None:
        self.file, self.info = file, info

    @abstractmethod
    def write(self, window: Window, values: NDArray[Any], present: NDArray[np.bool_] | None) -> None:
        """Write a window. Raises `DataError` if the format cannot say which pixels are absent."""

    @abstractmethod
    def finish(self) -> None:
        """Complete the file."""

    def abandon(self) -> None:  # noqa: B027 - most sinks hold nothing open
        """Let go of what is open; the file is removed by the caller."""
