"""Names that come out of files and become names of files: none of them may lead out of the directory that is written to."""

from __future__ import annotations

from collections.abc import Sequence

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


def whole_names(parts: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Names that were separated by commas, each once: parts that make up a `known` name which holds commas itself are joined.

    Of several known names that begin at a part, the longest counts. Parts that make up none stay as they are.
    """
    forms = {tuple(part.strip() for part in name.split(",") if part.strip()): name for name in known}
    forms |= {(name,): name for name in known}
    longest = max(map(len, forms), default=1)
    names = []
    start = 0
    while start < len(parts):
        there = [size for size in range(longest, 0, -1) if tuple(parts[start : start + size]) in forms]
        names.append(forms[tuple(parts[start : start + there[0]])] if there else parts[start])
        start += there[0] if there else 1
    return tuple(dict.fromkeys(names))
