"""Values of every type, and files of formats that need a hand to be made."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vqkit.image_io.rasters import RasterPixels, Window, open_raster

DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64")


def values(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Numbers spread over all that a dtype holds, each time the same."""
    dtype = np.dtype(dtype)
    spread = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(2654435761)
    if dtype.kind == "f":
        return ((spread % np.uint64(1000003)).astype(np.float64) / 1009 - 400).astype(dtype).reshape(shape)
    bits = 8 * dtype.itemsize
    whole = spread * np.uint64(2654435761) if bits == 64 else (spread >> np.uint64(13)) % np.uint64(2**bits)
    return whole.astype(f"u{dtype.itemsize}").view(dtype.newbyteorder("=")).astype(dtype).reshape(shape)


def read(
    path: Path, window: Window | None = None, channels: Iterable[int] | None = None, nodata: float | None = None
) -> RasterPixels:
    with open_raster(path, nodata) as raster:
        return raster.read(window, None if channels is None else list(channels))


def check_windows(path: Path) -> None:
    """Every window and choice of channels is that part of the whole."""
    with open_raster(path) as raster:
        info = raster.info
        whole = raster.read()
        last = info.channels - 1
        for window, channels in (
            (Window(info.height // 3, info.width // 3, info.height // 2 or 1, info.width // 2 or 1), None),
            (Window(info.height - 1, info.width - 1, 1, 1), [last]),
            (Window(0, info.width - 1, info.height, 1), [last, 0]),
            (Window(info.height // 2, 0, 1, info.width), [0]),
        ):
            part = raster.read(window, channels)
            chosen = list(range(info.channels)) if channels is None else channels
            np.testing.assert_array_equal(part.values, whole.values[chosen][:, window.rows, window.columns])
            assert part.values.dtype == info.dtype
            expected = np.ones(whole.values.shape, np.bool_) if whole.present is None else whole.present
            expected = np.broadcast_to(expected, whole.values.shape)[chosen][:, window.rows, window.columns]
            given = np.ones(expected.shape, np.bool_) if part.present is None else part.present
            np.testing.assert_array_equal(np.broadcast_to(given, expected.shape), expected)


def png(size: tuple[int, int], depth: int, colour: int, rows: list[bytes], chunks: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """A PNG of any depth and colour type, with chunks before its pixels; a chunk named `late` comes after them."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    chunks = list(chunks)
    early = [each for each in chunks if not each[0].startswith(b"late ")]
    late = [(name.removeprefix(b"late "), data) for name, data in chunks if name.startswith(b"late ")]
    header = struct.pack(">IIBBBBB", size[1], size[0], depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), *early, (b"IDAT", pixels), *late, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def exif(orientation: int) -> bytes:
    """EXIF data that hold an orientation and nothing else."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
