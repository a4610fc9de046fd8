"""Names of files and directories that are being written, and removing those of processes that were killed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

_PARTIAL = re.compile(r"\.(?P<stem>.+)\.(?P<process>[0-9]+)\.partial(?P<suffix>\.[^.]*)?", re.DOTALL)


def partial_path(path: Path, suffix: str = "") -> Path:
    """Where this process writes what is to become `path`, in the same directory; with the `suffix` that a writer goes by."""
    stem = path.name.removesuffix(suffix) if suffix else path.name
    return path.with_name(f".{stem}.{os.getpid()}.partial{suffix}")


def final_path(path: Path) -> Path:
    """What a path of `partial_path` is to become; any other path is returned as it is."""
    match = _PARTIAL.fullmatch(path.name)
    return path.with_name(f"{match['stem']}{match['suffix'] or ''}") if match else path


def remove_leftovers(paths: Iterable[Path], owned: bool = False) -> None:
    """Remove those of these paths that killed processes left unfinished.

    `owned`: no other process can be writing there. Otherwise those stay that a process with that number could be writing. Call it
    before this process writes there: a number is given again, in a container to the same program. What cannot be removed stays.
    """
    for path in paths:
        match = _PARTIAL.fullmatch(path.name)
        if match is None or not (owned or int(match["process"]) == os.getpid() or not is_alive(int(match["process"]))):
            continue
        remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a directory with what is in it, as far as that can be done."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def remove_directory(path: Path) -> None:
    """Remove a directory so that, whenever the process is killed, no part of it has its name. Raises `OSError`."""
    doomed = partial_path(path)
    remove(doomed)
    path.replace(doomed)
    shutil.rmtree(doomed)


def is_alive(process: int) -> bool:
    """Whether there is a process of this number on this machine."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
