"""Files that are either whole or absent.

A write goes to a temporary name in the same directory, is flushed to the disk, and is then renamed over the target.
A process that is killed, or a disk that fills up, leaves the previous file as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path to write the file to; it becomes `path` if the block succeeds and vanishes if it fails.

    The directory is made if it is missing. Raises `OSError` when the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept because some writers choose their format by it.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
        flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def directory_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary directory to fill; it becomes `path` if the block succeeds and vanishes if it fails.

    A directory that is already at `path` is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            flush(file)
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
        flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def flush(path: Path) -> None:
    """Make sure that a file, or the entries of a directory, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
