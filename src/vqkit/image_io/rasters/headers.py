"""What the headers of PNG and JPEG 2000 say and Pillow does not tell: bit depths, signs, transparency, where EXIF stands."""

from __future__ import annotations

import struct
from typing import IO, NamedTuple

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JP2_MAGIC = b"\x00\x00\x00\x0cjP  "
CODESTREAM_MAGIC = b"\xff\x4f\xff\x51"

_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 1, 6: 3}
_TEXT_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_PLAIN_CHUNKS = frozenset({b"IHDR", b"IDAT", b"IEND", b"tIME", b"gAMA", b"sRGB", b"cHRM", b"bKGD"})
"""What says nothing of the values, the orientation, the resolution or the profile of a picture."""


class PngHeader(NamedTuple):
    """Size, bits a sample, colour type (0 grey, 2 colour, 3 palette, 4 and 6 with opacity) and tRNS chunk of a PNG.

    `late_text`: EXIF data or texts follow the pixels, where they are not found by reading the header alone. `is_plain`: there is
    nothing besides size and pixels.
    """

    width: int
    height: int
    depth: int
    colour: int
    transparency: bytes
    late_text: bool
    is_plain: bool = False

    @property
    def channels(self) -> int:
        """Channels without opacity."""
        return _PNG_CHANNELS[self.colour]

    @property
    def transparent_grey(self) -> int | None:
        """The value of a grey picture that means transparent, as decoded: 8 bits for all depths up to 8."""
        if self.colour != 0 or len(self.transparency) < 2:
            return None
        stored = int.from_bytes(self.transparency[:2], "big") & (2**self.depth - 1)
        return stored * 255 // (2**self.depth - 1) if self.depth < 8 else stored


def png_header(file: IO[bytes]) -> PngHeader:
    """Read the chunks of a PNG, skipping its pixels. Raises `ValueError` or `struct.error` for one that is cut in its header."""
    file.seek(len(PNG_MAGIC))
    size = (0, 0, 0, 0)
    transparency, in_pixels, late_text, is_plain = b"", False, False, True
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        is_plain = is_plain and name in _PLAIN_CHUNKS
        if name == b"IHDR":
            size = struct.unpack(">IIBB", file.read(10))
            length -= 10
        elif name == b"tRNS":
            transparency = file.read(min(length, 256))
            length -= len(transparency)
        elif name == b"IDAT":
            in_pixels = True
        elif name == b"IEND":
            break
        elif name in _TEXT_CHUNKS:
            late_text |= in_pixels
        file.seek(length + 4, 1)
    if size[3] not in _PNG_CHANNELS:
        raise ValueError("no colour type of PNG")
    return PngHeader(*size, transparency, late_text, is_plain)


class Jpeg2000Header(NamedTuple):
    """Size of a JPEG 2000, bits and sign of each component, and which of them is opacity, if any."""

    width: int
    height: int
    depths: tuple[int, ...]
    signed: tuple[bool, ...]
    opacity: int | None
    has_palette: bool

    @property
    def is_plain(self) -> bool:
        """Whether it is a picture of 8 bits, grey or colour, with or without opacity: Pillow decodes these exactly."""
        expected = 2 if self.opacity is not None else 1
        eight = all(depth == 8 for depth in self.depths) and not any(self.signed)
        last = self.opacity in (None, len(self.depths) - 1)
        return self.has_palette or (eight and last and len(self.depths) in (expected, expected + 2))


def jpeg2000_header(data: bytes) -> Jpeg2000Header:
    """Read the boxes of a .jp2 or .jpx file, or the start of a bare codestream. Raises `ValueError` or `struct.error` if cut."""
    start, opacity, has_palette = 0, None, False
    if data.startswith(JP2_MAGIC):
        start, opacity, has_palette = _boxes(data, 0, len(data))
    if data[start : start + 4] != CODESTREAM_MAGIC:
        raise ValueError("no codestream of JPEG 2000")
    right, lower, left, upper, *_, count = struct.unpack_from(">IIIIIIIIH", data, start + 8)
    if not 0 < count <= 16384 or right <= left or lower <= upper:
        raise ValueError("no size")
    stated = [data[start + 42 + 3 * number] for number in range(count)]
    depths = tuple((each & 0x7F) + 1 for each in stated)
    return Jpeg2000Header(right - left, lower - upper, depths, tuple(each > 0x7F for each in stated), opacity, has_palette)


def _boxes(data: bytes, position: int, end: int) -> tuple[int, int | None, bool]:
    """Where the codestream starts, which component is opacity, and whether there is a palette, from the boxes in a range."""
    start, opacity, has_palette = 0, None, False
    while position + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
            head = 16
        stop = end if length == 0 else min(end, position + max(length, head))
        if name == b"jp2h":
            _, opacity, has_palette = _boxes(data, position + head, stop)
        elif name == b"pclr":
            has_palette = True
        elif name == b"cdef":
            (count,) = struct.unpack_from(">H", data, position + head)
            entries = [struct.unpack_from(">HHH", data, position + head + 2 + 6 * number) for number in range(count)]
            opacity = next((component for component, kind, _ in entries if kind in (1, 2)), None)
        elif name == b"jp2c" and not start:
            start = position + head
        position = stop
    return start, opacity, has_palette
