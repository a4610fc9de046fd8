"""Headers of `.npy`, alone or in an archive, compared with the bytes that there are before anything is allocated or mapped."""

from __future__ import annotations

import math
import threading
import tokenize
import zipfile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

_SMALLEST_DEFLATED = 1100
"""Bytes that a byte of a deflated member can stand for at most (1032 by the format), with a margin."""
_UNREADABLE = (SyntaxError, tokenize.TokenError, OverflowError, MemoryError, RecursionError, TypeError, KeyError, IndexError)
"""What NumPy raises, besides `ValueError`, for headers that are no Python literals or hold other things than they should."""

PARSING = threading.RLock()
"""Held while NumPy parses a header. Files are read in threads, and a sound one was once called damaged, for a reason that could not
be found again: this rules out two parsers at once.
"""


class ArrayHeader(NamedTuple):
    """What the header of a `.npy` states, once it is known to be true: the shape and type of the array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes, exactly."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_array_header(file: IO[bytes], length: int) -> ArrayHeader:
    """The header of a `.npy` of `length` bytes that `file` is at the beginning of.

    Raises `ValueError` when it is none, states Python objects, or states more values than the bytes after it can hold.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}, which only records with names in other scripts need")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with PARSING:
            shape, _, dtype = read(file)
    except _UNREADABLE as error:
        raise ValueError(f"no header of an array: {error}") from None
    if dtype.hasobject or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"an array of type {dtype} and shape {shape}")
    header = ArrayHeader(shape, dtype)
    if header.nbytes > length - file.tell():
        raise ValueError(f"{header.nbytes} bytes of values are stated where there are {length - file.tell()}")
    return header


def check_array_file(path: Path) -> ArrayHeader:
    """The header of a `.npy`. Raises as `read_array_header` does, and `OSError`."""
    with path.open("rb") as file:
        return read_array_header(file, path.stat().st_size)


def check_archive(path: Path) -> dict[str, ArrayHeader]:
    """The headers of all members of an `.npz`, by name without suffix, none of which inflates to more than it can hold.

    Raises as `read_array_header` does, and `OSError` or `zipfile.BadZipFile`.
    """
    size = path.stat().st_size
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_size > size or member.file_size > _SMALLEST_DEFLATED * member.compress_size:
                raise ValueError(f"{member.filename} states {member.file_size} bytes in {member.compress_size}")
            with archive.open(member) as file:
                headers[member.filename.removesuffix(".npy")] = read_array_header(file, member.file_size)
    return headers
