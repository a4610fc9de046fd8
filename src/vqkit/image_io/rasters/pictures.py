"""Pictures through Pillow: PNG, JPEG, WebP, BMP, GIF, TGA, Netpbm and JPEG 2000, as they are seen.

Of the frames of an animation, or the previews in a JPEG, only the first is read. Colours of other kinds (palette, CMYK, YCbCr,
Lab) become red, green and blue. Partial opacity of eight-bit pictures is painted on white. Grey of 1, 2 or 4 bits has 8, scaled to
0..255.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqkit.image_io.rasters.absence import Mask, checked_pixels, on_white
from vqkit.image_io.rasters.contract import FileTags, Raster, RasterInfo, RasterPixels, Resolution, Window
from vqkit.image_io.rasters.failures import image_codecs, most_pixels, reading_errors
from vqkit.image_io.rasters.headers import (
    CODESTREAM_MAGIC,
    JP2_MAGIC,
    PNG_MAGIC,
    Jpeg2000Header,
    PngHeader,
    jpeg2000_header,
    png_header,
)
from vqkit.image_io.rasters.netpbm import NetpbmHeader, netpbm_header, netpbm_values
from vqkit.image_io.rasters.orientation import TAG, UPRIGHT, is_turned, seen, stored_window, valid

# Pillow warns of half of the pixels that it allows; how many are read is checked here, and documented.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)

_FORMATS = {"JPEG2000": "JPEG 2000", "WEBP": "WebP", "PPM": "Netpbm", "MPO": "JPEG"}
_GREY = frozenset({"1", "L", "LA", "La"})
_WITH_OPACITY = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_ORIENTED = frozenset({"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1"})


HEAD_BYTES = 2**16
"""How much of a file is read when it is opened: all of most small pictures."""
_SMALL = 2**20
"""Pixels of a picture up to which opening it takes longer than decoding it."""


class Decoded(NamedTuple):
    """A whole picture: values [C, H, W] as stored, and which are present, bool [1, H, W] or None."""

    values: NDArray[Any]
    present: Mask | None = None


def open_picture_raster(path: Path, file: IO[bytes], head: bytes, nodata: float | None) -> Raster:
    """A picture as a raster, which closes `file`; `head` are its first `HEAD_BYTES`. Raises what Pillow raises if it is damaged."""
    if head.startswith((JP2_MAGIC, CODESTREAM_MAGIC)):
        file.seek(0)
        data = file.read()
        header = jpeg2000_header(data)
        if not header.is_plain:
            file.close()
            return _deep_jpeg2000(path, data, header, nodata)
    elif netpbm := netpbm_header(head, file):
        return _deep_netpbm(path, file, netpbm, nodata)
    is_whole = len(head) < HEAD_BYTES
    png = png_header(BytesIO(head) if is_whole else file) if head.startswith(PNG_MAGIC) else None
    if png is not None and png.is_plain and png.depth in (8, 16) and png.colour in (0, 2) and png.width * png.height <= _SMALL:
        check_pixel_count(png.width, png.height)
        if not is_whole:
            file.seek(0)
            head = file.read()
        file.close()
        return _plain_png(path, head, png, nodata)
    file.seek(0)
    image = Image.open(file)
    check_pixel_count(image.width, image.height)
    if png is not None and png.depth == 16 and png.colour in (2, 4, 6):
        return _deep_png(path, file, image, png, nodata)
    return PictureRaster(path, file, image, png, nodata)


def check_pixel_count(width: int, height: int) -> None:
    """Refuse what is decoded as a whole and has more pixels than Pillow allows."""
    if width * height > (most_pixels() or float("inf")):
        raise Image.DecompressionBombError


class PictureRaster(Raster):
    """A picture that Pillow decodes exactly: everything of 8 bits, grey of 16, float grey."""

    def __init__(self, path: Path, file: IO[bytes], image: Image.Image, png: PngHeader | None, nodata: float | None) -> None:
        self._file, self._image, self._png = file, image, png
        self._orientation = orientation_of(image, png)
        self._dtype = _dtype(image, png)
        height, width = (image.width, image.height) if is_turned(self._orientation) else (image.height, image.width)
        is_colour = self._dtype == np.uint8 and image.mode not in _GREY
        self.info = RasterInfo(
            path,
            _FORMATS.get(image.format or "", image.format or ""),
            3 if is_colour else 1,
            height,
            width,
            self._dtype,
            nodata=nodata,
            is_colour=is_colour,
            tags=picture_tags(image),
        )

    def _read(self, window: Window, channels: tuple[int, ...]) -> RasterPixels:
        info = self.info
        with reading_errors(info.path):
            image = self._image
            if window != info.whole:
                top, left, height, width = stored_window(window, self._orientation, info.height, info.width)
                image.load()  # a cut picture is to fail here, not to be black where it ends
                image = image.crop((left, top, left + width, top + height))
            return self._pixels(image, channels)

    def read_at_least(self, height: int, width: int) -> RasterPixels:
        """The whole picture; a JPEG is decoded at a fraction of its size, no smaller than height x width as it is seen."""
        if self.info.format != "JPEG":
            return self.read()
        with reading_errors(self.info.path):
            self._file.seek(0)
            with Image.open(self._file) as image:
                image.draft("RGB", (height, width) if is_turned(self._orientation) else (width, height))
                return self._pixels(image, tuple(range(self.info.channels)))

    def _pixels(self, image: Image.Image, channels: tuple[int, ...]) -> RasterPixels:
        values, present = decode_picture(image, self._dtype, self._png)
        if channels != tuple(range(len(values))):
            values = values[list(channels)]
        if self._orientation != UPRIGHT:
            values = np.ascontiguousarray(seen(values, self._orientation))
            present = None if present is None else np.ascontiguousarray(seen(present, self._orientation))
        return checked_pixels(values, present, self.info)

    def close(self) -> None:
        """Close the file."""
        self._image.close()
        self._file.close()


class DeepPictureRaster(Raster):
    """A picture of more bits than Pillow keeps: decoded once, as a whole, when its pixels are first read."""

    def __init__(self, info: RasterInfo, orientation: int, decode: Callable[[], Decoded]) -> None:
        self.info, self._orientation, self._decode = info, orientation, decode
        self._decoded: Decoded | None = None

    def _read(self, window: Window, channels: tuple[int, ...]) -> RasterPixels:
        info = self.info
        with reading_errors(info.path):
            if self._decoded is None:
                self._decoded = self._decode()
            values, present = self._decoded
            values = seen(values, self._orientation)
            if values.shape != (info.channels, info.height, info.width):
                raise ValueError("another size than the header states")
            if window != info.whole or channels != tuple(range(len(values))):
                values = values[list(channels), window.rows, window.columns]
            part = np.array(values, order="C")
            if present is not None:
                present = seen(present, self._orientation)[:, window.rows, window.columns]
            return checked_pixels(part, present, info)

    def close(self) -> None:
        """Forget the pixels."""
        self._decoded = None


def picture_values(image: Image.Image) -> Decoded:
    """The pixels of a Pillow image as those of a file: its values in their own type, turned as its EXIF data say."""
    values, present = decode_picture(image, _dtype(image, None), None)
    orientation = orientation_of(image)
    if orientation == UPRIGHT:
        return Decoded(values, present)
    turned = np.ascontiguousarray(seen(values, orientation))
    return Decoded(turned, None if present is None else np.ascontiguousarray(seen(present, orientation)))


def decode_picture(image: Image.Image, dtype: np.dtype[Any], png: PngHeader | None) -> Decoded:
    """The pixels of a picture, or of a part of one: [C, H, W] in the dtype given, and which are not fully transparent."""
    if dtype != np.uint8:
        values = np.array(image).astype(dtype, copy=False)[None]
        grey = None if png is None else png.transparent_grey
        return Decoded(values, None if grey is None else values != grey)
    grey = None if png is None else png.transparent_grey
    if image.mode in ("1", "L") and (grey is not None or "transparency" not in image.info):
        values = np.array(image.convert("L") if image.mode == "1" else image)[None]
        if grey is None:
            return Decoded(values)
        present = values != grey
        return Decoded(np.where(present, values, np.uint8(255)), present)
    if image.mode not in _WITH_OPACITY and "transparency" not in image.info:
        return Decoded(_planes(image if image.mode == "RGB" else image.convert("RGB")))
    planes = _planes(image.convert("LA" if image.mode in _GREY else "RGBA"))
    opacity = planes[-1:]
    if opacity.min(initial=255) == 255:
        return Decoded(np.ascontiguousarray(planes[:-1]))
    return Decoded(on_white(planes[:-1], opacity), opacity > 0)


def _planes(image: Image.Image) -> NDArray[Any]:
    return np.array(np.asarray(image).transpose(2, 0, 1), order="C")


def _dtype(image: Image.Image, png: PngHeader | None) -> np.dtype[Any]:
    """The dtype of a picture: Pillow gives grey of 16 bits as I in some versions, as I;16 in others."""
    if image.mode == "F":
        return np.dtype(np.float32)
    if image.mode.startswith("I;16") or (image.mode == "I" and png is not None):
        return np.dtype(np.uint16)
    return np.dtype(np.int32) if image.mode == "I" else np.dtype(np.uint8)


def orientation_of(image: Image.Image, png: PngHeader | None = None) -> int:
    """The orientation that the EXIF data of a picture give; damaged EXIF data give none."""
    if _ORIENTED.isdisjoint(image.info) and not (png is not None and png.late_text):
        return UPRIGHT
    try:
        return valid(image.getexif().get(TAG, UPRIGHT))
    except (ValueError, KeyError, TypeError, IndexError, OverflowError, EOFError, SyntaxError, struct.error):
        return UPRIGHT


def picture_tags(image: Image.Image) -> FileTags:
    """Resolution, colour profile and whether there is opacity; a profile of other colours than these or grey is left out."""
    dots = image.info.get("dpi")
    try:
        resolution = Resolution(float(dots[0]), float(dots[1])) if dots and min(dots) > 0 else None
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        resolution = None
    profile = image.info.get("icc_profile")
    kept = isinstance(profile, bytes) and image.mode in ("L", "LA", "RGB", "RGBA", "P", "PA", "I;16")
    opacity = image.mode in _WITH_OPACITY or "transparency" in image.info
    return FileTags(resolution=resolution, profile=profile if kept else None, opacity=opacity)


def _plain_png(path: Path, data: bytes, png: PngHeader, nodata: float | None) -> Raster:
    """A small PNG of 8 or 16 bits that holds nothing but pixels, decoded by imagecodecs in a fraction of Pillow's time."""

    def decode() -> Decoded:
        samples = image_codecs(path).png_decode(data)
        return Decoded(samples.reshape(png.height, png.width, -1).transpose(2, 0, 1))

    dtype, is_colour = np.dtype(np.uint8 if png.depth == 8 else np.uint16), png.channels == 3
    info = RasterInfo(path, "PNG", png.channels, png.height, png.width, dtype, nodata=nodata, is_colour=is_colour)
    return DeepPictureRaster(info, UPRIGHT, decode)


def _deep_png(path: Path, file: IO[bytes], image: Image.Image, png: PngHeader, nodata: float | None) -> Raster:
    """A PNG of 16 bits with colours or opacity, which Pillow cuts to 8: decoded by imagecodecs."""
    orientation, tags = orientation_of(image, png), picture_tags(image)
    size = (png.width, png.height) if is_turned(orientation) else (png.height, png.width)
    file.seek(0)
    data = file.read()
    file.close()

    def decode() -> Decoded:
        samples = image_codecs(path).png_decode(data)
        samples = np.moveaxis(samples.reshape(png.height, png.width, -1), -1, 0)
        opacity = samples[png.channels :]
        return Decoded(samples[: png.channels], opacity[:1] > 0 if len(opacity) else None)

    is_colour = png.channels == 3
    info = RasterInfo(path, "PNG", png.channels, *size, np.dtype(np.uint16), nodata=nodata, is_colour=is_colour, tags=tags)
    return DeepPictureRaster(info, orientation, decode)


def _deep_jpeg2000(path: Path, data: bytes, header: Jpeg2000Header, nodata: float | None) -> Raster:
    """A JPEG 2000 of another depth than 8 bits (which Pillow scales), or with any number of channels: decoded by imagecodecs."""
    check_pixel_count(header.width, header.height)
    if len(set(header.depths)) > 1 or len(set(header.signed)) > 1:
        raise ValueError("components of several depths")
    bits = next(size for size in (8, 16, 32) if header.depths[0] <= size)
    dtype = np.dtype(f"{'i' if header.signed[0] else 'u'}{bits // 8}")
    kept = [number for number in range(len(header.depths)) if number != header.opacity]

    def decode() -> Decoded:
        samples = image_codecs(path).jpeg2k_decode(data)
        samples = np.moveaxis(samples.reshape(header.height, header.width, -1), -1, 0)
        present = None if header.opacity is None else samples[header.opacity][None] > 0
        return Decoded(samples[kept].astype(dtype, copy=False), present)

    size = len(kept), header.height, header.width
    tags = FileTags(opacity=header.opacity is not None)
    info = RasterInfo(path, "JPEG 2000", *size, dtype, nodata=nodata, is_colour=len(kept) == 3, tags=tags)
    return DeepPictureRaster(info, UPRIGHT, decode)


def _deep_netpbm(path: Path, file: IO[bytes], header: NetpbmHeader, nodata: float | None) -> Raster:
    """A Netpbm file of more or less than 8 bits, whose values Pillow scales or cuts."""
    check_pixel_count(header.width, header.height)
    file.seek(0)
    data = file.read()
    file.close()
    size = (header.channels, header.height, header.width)
    is_colour = header.channels == 3
    info = RasterInfo(path, "Netpbm", *size, header.dtype, nodata=nodata, is_colour=is_colour)
    return DeepPictureRaster(info, UPRIGHT, lambda: Decoded(netpbm_values(data, header)))
