"""Run directories belong to one process at a time: claimed before anything is written, locked while it lives.

The lock is the operating system's, on the file `.lock` in the directory: it ends with the process, however that ends, and holds on
network file systems as well. The file names its owner, for messages.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqkit.core.leftovers import is_alive
from vqkit.core.write_errors import errors_name
from vqkit.errors import ConfigError
from vqkit.storage.runs import CONFIG_FILE, RUNS, fresh_directory

try:
    import fcntl
except ImportError:  # Windows: there the owner that the file names is looked for
    _CAN_LOCK = False
else:
    _CAN_LOCK = True

LOCK_FILE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)
"""What file systems without locks answer."""
_LONGEST = 1000
_HELD: set[tuple[int, int]] = set()
"""Device and number of each lock file of this process: the system's locks keep other processes out, not other threads."""


@contextmanager
def claimed(directory: Path) -> Iterator[Path]:
    """Give a run directory that no other process writes to until the block ends, or this process does.

    A directory that did not exist is removed again if nothing is written. Raises `ConfigError` naming the owner if another process
    has it, and `OSError`.
    """
    with _locked(directory, is_new=_made(directory)):
        yield directory


@contextmanager
def claimed_fresh(model: str, data: str, root: Path = RUNS) -> Iterator[Path]:
    """Like `claimed`, of a directory that did not exist before: `<root>/<model>-<data>-001`, `-002`, ..."""
    directory = fresh_directory(model, data, root)
    while not _made(directory):  # another process was faster
        directory = fresh_directory(model, data, root)
    with _locked(directory, is_new=True):
        yield directory


def is_unused(directory: Path) -> bool:
    """Whether a run directory is missing, or holds nothing but a lock."""
    return not directory.exists() or all(path.name == LOCK_FILE for path in directory.iterdir())


def _made(directory: Path) -> bool:
    """Make a directory; whether it was not there. Raises `OSError`."""
    try:
        directory.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


@contextmanager
def _locked(directory: Path, is_new: bool) -> Iterator[None]:
    was_locked = (directory / LOCK_FILE).exists()
    file, identity = _open_locked(directory)
    _HELD.add(identity)
    try:
        with errors_name(directory / LOCK_FILE):
            os.ftruncate(file, 0)
            os.write(file, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode())
        yield
    finally:
        with contextlib.suppress(OSError):  # the directory may be gone
            os.ftruncate(file, 0)
            if is_new and is_unused(directory):
                (directory / LOCK_FILE).unlink()
                directory.rmdir()
            elif not was_locked and not (directory / CONFIG_FILE).exists():  # a directory of something else
                (directory / LOCK_FILE).unlink()
        _HELD.discard(identity)
        os.close(file)


def _open_locked(directory: Path) -> tuple[int, tuple[int, int]]:
    """The lock file, open and locked, and what identifies it. Raises `ConfigError` or `OSError`."""
    path = directory / LOCK_FILE
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if _identity(path.stat()) in _HELD:  # not opened: closing it would end the lock of this process
                raise _in_use(directory, (os.getpid(), socket.gethostname()))
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            identity = _identity(os.fstat(file))
            if not _acquire(file):
                raise _in_use(directory, _owner(file))
            with contextlib.suppress(FileNotFoundError):
                if _identity(path.stat()) == identity:
                    return file, identity
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # the owner before has removed it in the meantime


def _acquire(file: int) -> bool:
    """Lock an open file; False when another process holds it.

    The lock is of the process and not of the open file: processes that load data inherit the file, and may live a little longer.
    """
    if not _CAN_LOCK:
        return not _is_alive_here(_owner(file))
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return not _is_alive_here(_owner(file))
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _owner(file: int) -> tuple[int, str] | None:
    """Process and host that a lock file names."""
    try:
        content = json.loads(os.pread(file, _LONGEST, 0).decode())
        return int(content["pid"]), str(content["host"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _in_use(directory: Path, owner: tuple[int, str] | None) -> ConfigError:
    named = f"process {owner[0]} on {owner[1]!r}" if owner else "another process"
    return ConfigError(
        f"The run directory {directory} is in use by {named}.", "Wait until it ends, stop it, or choose another --out."
    )


def _is_alive_here(owner: tuple[int, str] | None) -> bool:
    """Whether the owner is another process of this machine that runs."""
    return owner is not None and owner[1] == socket.gethostname() and owner[0] != os.getpid() and is_alive(owner[0])


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
