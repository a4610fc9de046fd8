"""Directories of results whose content is not trusted: no link inside of one leads a write elsewhere.

The names of images and components come out of files, and so may what is in the directory that results are written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from vqkit.errors import ConfigError

_FOLDER: ContextVar[Path | None] = ContextVar("folder_of_results", default=None)


@contextmanager
def no_links_below(folder: Path | None) -> Iterator[None]:
    """Within this block, in this thread, refuse to write below `folder` through a link to another directory.

    `folder` itself, and what is above it, may be links: these were typed. None changes nothing.
    """
    token = _FOLDER.set(folder or _FOLDER.get())
    try:
        yield
    finally:
        _FOLDER.reset(token)


def check_links(path: Path) -> None:
    """Raise `ConfigError` if `path` is below the folder of `no_links_below` and a directory in between is a link."""
    folder = _FOLDER.get()
    if folder is None or not path.is_relative_to(folder):
        return
    for part in path.parents:
        if part == folder:
            return
        if part.is_symlink():
            raise ConfigError(
                f"{part} is a link to another directory, and results are written below {folder} only.",
                "Remove the link, or give the directory that it leads to with --out.",
            )
