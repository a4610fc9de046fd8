"""Netpbm files (.pgm, .ppm) whose values Pillow scales or cuts: here they stay, whatever the greatest one in the header."""

from __future__ import annotations

import re
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAGICS = {b"P2": 1, b"P3": 3, b"P5": 1, b"P6": 3}
_FIELD = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})")


class NetpbmHeader(NamedTuple):
    """Size of a Netpbm file, whether its values are written as text, where they start in the file, and their type."""

    channels: int
    height: int
    width: int
    is_text: bool
    start: int
    dtype: np.dtype[Any]


def netpbm_header(head: bytes, file: IO[bytes]) -> NetpbmHeader | None:
    """The header, or None for a file of another format and for one that Pillow reads as it is: up to 255."""
    channels = _MAGICS.get(head[:2])
    if channels is None:
        return None
    file.seek(0)
    start = file.read(4096)
    position, fields = 2, []
    for _ in range(3):
        found = _FIELD.match(start, position)
        if found is None:
            return None
        fields.append(int(found[1]))
        position = found.end()
    width, height, greatest = fields
    if not (0 < greatest < 65536 and greatest != 255 and width and height):
        return None
    dtype = np.dtype(np.uint8 if greatest < 255 else np.uint16)
    return NetpbmHeader(channels, height, width, head[:2] in (b"P2", b"P3"), position + 1, dtype)


def netpbm_values(data: bytes, header: NetpbmHeader) -> NDArray[Any]:
    """The values, [C, H, W] in the type of the header. Raises `ValueError` for a file that is cut."""
    shape = (header.height, header.width, header.channels)
    count = header.height * header.width * header.channels
    if header.is_text:
        words = re.sub(rb"#[^\r\n]*", b"", data[header.start - 1 :]).split(None, count)[:count]
        values = np.array([int(word) for word in words], dtype=header.dtype)
    else:
        values = np.frombuffer(data, header.dtype.newbyteorder(">"), count, header.start).astype(header.dtype)
    return np.moveaxis(values.reshape(shape), -1, 0)
