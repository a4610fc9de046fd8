"""Files that are either whole or absent.

A write goes to a temporary name in the same directory, is flushed to the disk, and is then renamed over the target.
A process that is killed, or a disk that fills up, leaves the previous file as it was. Only a regular file is ever replaced: a
device, a pipe or a socket of that name stays what it is.

Flushing one file takes as long as flushing many: writes inside of a `WriteBatch` are flushed and renamed together.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from vqkit.core.leftovers import final_path, partial_path, remove
from vqkit.core.links import check_links, no_links_below
from vqkit.core.write_errors import errors_name
from vqkit.errors import ConfigError

_BATCH: ContextVar[WriteBatch | None] = ContextVar("write_batch", default=None)


class WriteBatch:
    """Files that appear together: `write_atomically` only writes them, and `commit` flushes and renames all of them.

        batch = WriteBatch()
        with batch.collect():
            write_text(first, "a"), write_text(second, "b")
        batch.commit()

    Several threads may collect at once. No link below the directory `folder`, if one is given, is followed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._written: list[tuple[Path, Path]] = []
        self._folders: set[str] = set()

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Within this block, in this thread, `write_atomically` leaves files to the batch."""
        token = _BATCH.set(self)
        try:
            with no_links_below(self._folder):
                yield
        finally:
            _BATCH.reset(token)

    def make_folder(self, folder: Path) -> None:
        """Make a directory and those above it, unless this batch has done so."""
        if str(folder) not in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            self._folders.add(str(folder))

    def add(self, temporary: Path, path: Path) -> None:
        """A file that is written, and what it is to be called."""
        self._written.append((temporary, path))

    def commit(self) -> None:
        """Flush what was written, then rename it. Raises `OSError`, and then removes what is not renamed."""
        try:
            _flush_all([temporary for temporary, _ in self._written])
            folders = {path.parent for _, path in self._written}
            while self._written:
                temporary, path = self._written[-1]
                with errors_name(path):
                    temporary.replace(path)
                self._written.pop()
            for folder in folders:
                flush(folder)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what is written and not renamed."""
        while self._written:
            with contextlib.suppress(OSError):
                self._written.pop()[0].unlink()


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary path to write the file to; it becomes `path` if the block succeeds and vanishes if it fails.

    The directory is made if it is missing. Raises `OSError` naming `path` when the file cannot be written, and `ConfigError` where
    something is that is not a regular file, or a link leads out of the directory of the results.
    """
    check_replaceable(path)
    check_links(path)
    batch = _BATCH.get()
    if batch is None:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        batch.make_folder(path.parent)
    # The suffix is kept because some writers choose their format by it.
    temporary = partial_path(path, path.suffix)
    try:
        with errors_name(path):
            yield temporary
            if batch is not None:
                batch.add(temporary, path)
                return
            flush(temporary)
            temporary.replace(path)
            flush(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def check_replaceable(path: Path) -> None:
    """Raise `ConfigError` if `path` is, or links to, something that a file must not replace: a device, a pipe or a directory.

    A rename would put a regular file in the place of a device such as /dev/null, for every program of the machine.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # nothing there, or what the write itself will report
        return
    if not stat.S_ISREG(mode):
        what = next((name for is_one, name in _SPECIAL if is_one(mode)), "special file")
        raise ConfigError(f"{path} is a {what}, and not a file that can be replaced.", "Choose another name for the output.")


_SPECIAL: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "directory"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def directory_atomically(path: Path) -> Iterator[Path]:
    """Give a temporary directory to fill; it becomes `path` if the block succeeds and vanishes if it fails.

    A directory that is already at `path` is replaced. Raises `OSError` naming `path`, or a file below it, and `ConfigError` where
    something else is than a directory, or a link leads out of the directory of the results.
    """
    if not path.is_dir():
        check_replaceable(path)
    check_links(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = partial_path(path)
    remove(temporary)
    temporary.mkdir()
    try:
        try:
            yield temporary
            for file in temporary.iterdir():
                flush(file)
        except OSError as error:
            error.filename = str(_below(path, temporary, error.filename))
            raise
        with errors_name(path):
            _put_in_place(temporary, path)
        flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _below(path: Path, temporary: Path, name: object) -> Path:
    """What an error names, by the name that a temporary directory is to have: `path` where it names nothing."""
    if not isinstance(name, str):
        return path
    return path / Path(name).relative_to(temporary) if Path(name).is_relative_to(temporary) else Path(name)


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give a directory its name. One that has it is first renamed, so that a process that is killed leaves no part of it there."""
    try:
        temporary.replace(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        replaced = partial_path(path.with_name(f"{path.name}.replaced"))
        remove(replaced)
        path.replace(replaced)
        temporary.replace(path)
        shutil.rmtree(replaced)


def _flush_all(paths: list[Path]) -> None:
    """Make sure that files have reached the disk: with one call for each file system where there is one for that (Linux)."""
    devices = {path.stat().st_dev: path for path in {path.parent: path for path in paths}.values()}
    if sys.platform == "linux" and len(paths) > len(devices):
        flush_device = getattr(ctypes.CDLL(None), "syncfs", None)
        if flush_device is not None and all(_on_descriptor(flush_device, path) == 0 for path in devices.values()):
            return
    for path in paths:
        flush(path)


def _on_descriptor(call: Callable[[int], int], path: Path) -> int:
    """What a system call returns for an open file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return call(descriptor)
    finally:
        os.close(descriptor)


def flush(path: Path) -> None:
    """Make sure that a file, or the entries of a directory, have reached the disk. Raises `OSError` naming what it is to become."""
    with errors_name(final_path(path)):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
