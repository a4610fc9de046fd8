"""Outputs that would take the place of what a command reads."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vqkit.errors import DataError
from vqkit.image_io.formats import INPUT_SUFFIXES, has_suffix
from vqkit.image_io.inputs import Item
from vqkit.interfaces import SPLITS


def check_not_input(out: Path, inputs: Iterable[Path]) -> None:
    """Raise `DataError` if the file `out` is one of the `inputs`, by whatever name: also through a link to it.

    An input may be a directory: then `out` must be no image inside of it.
    """
    written = _identity(out)
    if written is None:  # a new file replaces nothing
        return
    above = {_identity(folder) for folder in Path(os.path.realpath(out)).parents} if has_suffix(out, INPUT_SUFFIXES) else set()
    for path in inputs:
        found = _identity(path)
        if found is not None and (found == written or found in above):
            which = "" if path == out else f" {path}" if found == written else f" {path}/"
            within = "an image of" if found != written else "the input"
            raise DataError(f"Writing to {out} would replace {within}{which}.", "Choose another name with --out.")


def check_not_data(folder: Path, inputs: Iterable[Path]) -> None:
    """Raise `DataError` if images are to be written to a directory that they, or those of a split of theirs, are read from."""
    target = _identity(folder)
    for path in inputs:
        if target is not None and target in (_identity(path), *(_identity(path / split) for split in SPLITS)):
            raise DataError(f"{folder} holds the images that are to be written.", "Choose another directory with --out.")


def item_files(items: Iterable[Item]) -> list[Path]:
    """The files of all items, and folders of those that are OME-Zarr."""
    return [member.path for item in items for member in item.members.values()]


def data_files(data: str | None) -> list[Path]:
    """The files or directories that the argument of `--data` names; none for the name of a registered data set."""
    if data is None:
        return []
    parts = [data] if Path(data).expanduser().exists() else data.split(",")
    return [path for path in (Path(part.strip()).expanduser() for part in parts) if path.exists()]


def _identity(path: Path) -> tuple[int, int] | None:
    """What identifies the file that a path leads to, whatever its name; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
