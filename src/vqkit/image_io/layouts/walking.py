"""The files below a directory: hidden ones left out, links followed without loops, each file of the directory once."""

from __future__ import annotations

import os
import posixpath
from collections import deque
from pathlib import Path
from typing import NamedTuple

from vqkit.errors import DataError
from vqkit.image_io.formats import FOLDER_SUFFIXES
from vqkit.image_io.layouts.naming import counted, examples


class WalkedFile(NamedTuple):
    """A file: its path relative to the directory, with slashes; its path; and its real path where a link leads to it."""

    relative: str
    path: Path
    target: str | None = None


class _Folder(NamedTuple):
    """A folder to list: its path, relative path and real path, and whether a link leads there."""

    path: str
    relative: str
    real: str
    linked: bool


class _Link(NamedTuple):
    """A link to follow once everything that needs no link is found."""

    path: str
    relative: str
    parent: str


class Walk:
    """All files below `root` that end in one of `suffixes`, in the order of their relative paths, as `files`.

    A folder that is an image, such as one of OME-Zarr, counts as a file. Hidden files and folders are skipped, and what lies in
    `exclude`, unless that is `root` itself. `notes` says which links were not followed: broken ones, and those to what is in the
    directory anyway. Raises `DataError` when `root` cannot be listed.
    """

    def __init__(self, root: Path, suffixes: frozenset[str], exclude: Path | None = None) -> None:
        self._suffixes = suffixes
        self._real_root = os.path.realpath(root)
        excluded = os.path.realpath(exclude) if exclude is not None else ""
        self._excluded = excluded if excluded != self._real_root else ""
        self._found: dict[str, WalkedFile] = {}
        self._visited: set[str] = set()
        self._folders: deque[_Folder] = deque()
        self._links: deque[_Link] = deque()
        self._broken: list[str] = []
        self._repeated: list[str] = []
        self._closed: list[str] = []
        try:
            with os.scandir(root):
                pass
        except OSError as error:
            raise DataError(f"{root} cannot be read: {error.strerror}.", "Give a directory that you may read.") from None
        self._visit(_Folder(str(root), "", self._real_root, linked=False))
        while self._links:
            self._follow(self._links.popleft())
        self.files = sorted(self._found.values(), key=lambda file: file.relative)
        self.notes = tuple(
            f"Skipped {counted(len(names), thing)} {text}: {examples(names)}."
            for names, thing, text in (
                (self._broken, "broken link", "whose target does not exist"),
                (self._repeated, "link", "to what is read anyway"),
                (self._closed, "folder", "without permission to read"),
            )
            if names
        )

    def _visit(self, folder: _Folder) -> None:
        """List a folder and all that are below it without links; links are kept for later."""
        self._folders.append(folder)
        while self._folders:
            current = self._folders.popleft()
            if current.real in self._visited or current.real == self._excluded:
                continue
            self._visited.add(current.real)
            try:
                with os.scandir(current.path) as listing:
                    entries = sorted(listing, key=lambda entry: entry.name)
            except OSError:
                self._closed.append(current.relative)
                continue
            for entry in entries:
                self._sort_in(entry, current)

    def _sort_in(self, entry: os.DirEntry[str], folder: _Folder) -> None:
        if entry.name.startswith("."):
            return
        relative = f"{folder.relative}/{entry.name}" if folder.relative else entry.name
        real = f"{folder.real}/{entry.name}"
        if entry.is_symlink():
            self._links.append(_Link(entry.path, relative, folder.real))
        elif self._is_image(entry.path, entry.is_dir()):
            self._found.setdefault(real, WalkedFile(relative, Path(entry.path), real if folder.linked else None))
        elif entry.is_dir():
            self._folders.append(_Folder(entry.path, relative, real, folder.linked))

    def _follow(self, link: _Link) -> None:
        target = os.path.realpath(link.path)
        if not Path(target).exists():
            self._broken.append(link.relative)
        elif self._is_image(link.path, Path(target).is_dir()):
            if target in self._found and self._found[target].target is None:
                self._repeated.append(link.relative)
            elif not self._is_excluded(target):
                # Several links may share a file outside of the directory: stores that keep equal files once work so.
                self._found[link.path] = WalkedFile(link.relative, Path(link.path), target)
        elif Path(target).is_dir():
            # A link to a folder that it lies in is a loop, even where that folder is not below the root.
            if target in self._visited or f"{link.parent}/".startswith(f"{target.rstrip('/')}/"):
                self._repeated.append(link.relative)
            else:
                self._visit(_Folder(link.path, link.relative, target, linked=True))

    def _is_image(self, path: str, is_folder: bool) -> bool:
        # By its text: a Path for every entry of a large directory would take as long as all the rest.
        suffix = posixpath.splitext(path)[1].lower()
        return suffix in self._suffixes and (suffix in FOLDER_SUFFIXES) is is_folder

    def _is_excluded(self, real: str) -> bool:
        return bool(self._excluded) and real.startswith(f"{self._excluded}/")
