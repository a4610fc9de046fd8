"""A command in a process of its own, forked from one that has everything loaded, and what may happen to it there."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vqkit.cli import app as cli

_CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate"}
Disturbance = Callable[[], None]
"""What a process does to itself before the command begins."""


class Ended(NamedTuple):
    """How a command ended: its exit code, or minus the signal; what it printed; how long it took."""

    code: int
    printed: str
    seconds: float


def run(box: Path, command: Sequence[str], disturb: Disturbance = lambda: None, kill_after: float | None = None) -> Ended:
    """Run a command in the directory, and wait for it. `kill_after`: seconds until it is killed."""
    return wait(start(box, command, disturb), kill_after)


class Started(NamedTuple):
    """A process that was started, the file of what it prints, and when."""

    process: int
    log: Path
    began: float


def start(box: Path, command: Sequence[str], disturb: Disturbance = lambda: None, log: str = "printed.log") -> Started:
    """Start a command in the directory, as a process forked from this one."""
    file = box.parent / log
    sys.stdout.flush()
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        _run_here(box, command, disturb, file)
    return Started(process, file, began)


def wait(started: Started, kill_after: float | None = None) -> Ended:
    """Wait for a process, and kill it after some seconds."""
    while True:
        done, status = os.waitpid(started.process, os.WNOHANG)
        passed = time.monotonic() - started.began
        if done:
            code = os.waitstatus_to_exitcode(status)
            return Ended(code, started.log.read_text(encoding="utf-8", errors="replace"), passed)
        if kill_after is not None and passed >= kill_after:
            os.kill(started.process, signal.SIGKILL)
            kill_after = None
        time.sleep(0.005)


def _run_here(box: Path, command: Sequence[str], disturb: Disturbance, log: Path) -> None:
    """Become the command; never returns."""
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os.chdir(box)
        sys.argv = ["vqkit", *command]
        disturb()
        cli.main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:  # noqa: BLE001 - printed, and seen by whoever waits
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def at_operation(number: int, happen: Callable[[str, str], None], inside: Path, lasting: bool = False) -> Disturbance:
    """Something happens just before the `number`-th change of a file below `inside` (1-based), or also before all later ones."""

    def at(count: int, event: str, path: str) -> None:
        if count == number or (lasting and count > number):
            happen(event, path)

    return _at_each_change(inside, at)


def _at_each_change(inside: Path, happen: Callable[[int, str, str], None]) -> Disturbance:
    """Something happens just before each change of a file below `inside`; it gets the number (1-based), the event and the path."""

    def disturb() -> None:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            path = _changed(event, arguments)
            if path is not None and Path(path).absolute().is_relative_to(inside):
                count += 1
                happen(count, event, path)

        sys.addaudithook(hook)

    return disturb


def _changed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The path that an audit event changes; None for what only reads."""
    if event in _CHANGES and not isinstance(arguments[0], int):
        return os.fsdecode(arguments[0])
    if event == "open" and not isinstance(arguments[0], int):
        _, mode, flags = arguments
        if any(letter in (mode or "") for letter in "wax+") or (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return os.fsdecode(arguments[0])
    return None


def counted(inside: Path, file: Path) -> Disturbance:
    """Write the number of changes of files below `inside` to a file, anew with each change."""

    def write(count: int, event: str, path: str) -> None:
        del event, path
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, str(count).encode())
        os.close(descriptor)

    return _at_each_change(inside, write)


def die(event: str, path: str) -> None:
    """The process is killed at once."""
    del event, path
    os.kill(os.getpid(), signal.SIGKILL)


def full(event: str, path: str) -> None:
    """The disk is full: files can be removed and renamed, and none can be opened to write or made."""
    if event not in ("os.remove", "os.rmdir", "os.rename"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def read_only(event: str, path: str) -> None:
    """The file system became read-only."""
    del event
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)


def file_limit(size: int) -> Disturbance:
    """No file can grow beyond a size: the system refuses such writes, whichever library makes them."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def jumping_clock(seed: int) -> Disturbance:
    """The time of day jumps by up to a year, forwards and backwards, at every reading."""

    def disturb() -> None:
        draw, now = random.Random(seed), time.time
        time.time = lambda: now() + draw.uniform(-3e7, 3e7)

    return disturb
