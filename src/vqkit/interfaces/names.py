"""Names that come out of files and become names of files: none of them may lead out of the directory that is written to."""

from __future__ import annotations

LONGEST_PART = 255
"""Bytes of the name of one file or folder; the limit of file systems."""
LONGEST_NAME = 4096
"""Bytes of a relative path; the limit of Linux."""


def wrong_name(name: str) -> str | None:
    """What is wrong with a name as a relative path that stays inside of a directory, in words; None if nothing is.

    Folders are separated by `/`. No part may be `..`, too long for a file system, or hold NUL or a backslash.
    """
    if not name or not name.strip("/."):
        return "is not the name of a file"
    if "\0" in name:
        return "holds a NUL character"
    if name.startswith("/") or name[1:3] in (":/", ":\\"):
        return "is an absolute path"
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        return "leads out of its folder"
    encoded = [len(part.encode("utf-8", "surrogatepass")) for part in parts]
    if max(encoded) > LONGEST_PART or sum(encoded) + len(parts) > LONGEST_NAME:
        return f"is too long ({sum(encoded) + len(parts) - 1} bytes)"
    return None


def shown(name: str) -> str:
    """A name for a message: quoted, cut where it is long, and without characters that a terminal acts upon."""
    return repr(name if len(name) <= 60 else f"{name[:57]}...")
