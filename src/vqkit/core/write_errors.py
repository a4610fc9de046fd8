"""What goes wrong when a file is written, with the path of that file: many libraries raise errors that name none."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqkit.core.leftovers import final_path

_FULL_BYTES = 2**16
"""A disk with less space than this is full: blocks are not divided."""


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """An `OSError` of this block names `path`, unless it names another file, and has a number, that of a full disk if it is."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # libraries that write with code of their own, such as NumPy and Pillow, say it in words
            error.errno, error.strerror = _number(path), str(error)
        if not isinstance(error.filename, str) or final_path(Path(error.filename)) == path:
            error.filename = str(path)
        raise


def _number(path: Path) -> int:
    """The number of the error of a write that failed for an unknown reason."""
    folder = next((each for each in path.absolute().parents if each.is_dir()), Path(os.sep))
    try:
        is_full = shutil.disk_usage(folder).free < _FULL_BYTES
    except OSError:
        is_full = False
    return errno.ENOSPC if is_full else errno.EIO
