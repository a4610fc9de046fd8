"""Names: in which order components come, names that are unique, and names that are short enough for a file system."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

LONGEST_NAME = 200
"""Bytes of one part of an image's name; file systems allow 255, of which a component, a suffix and a temporary name need some."""

EPURE_ORDER = ("group_nc", "group_km", "bt", "fpu", "tpc", "gi")
"""Order of the EPURE components, from inside to outside; others follow by name, before `gi`."""

_COLOURS = ("r", "g", "b")
_DIGEST = 10


def counted(number: int, thing: str, plural: str = "s") -> str:
    """A number with its noun, to which `plural` is added unless there is one: `1 image`, `1,800 images`."""
    return f"{number:,} {thing}{'' if number == 1 else plural}"


def examples(names: Sequence[str], most: int = 3) -> str:
    """The first few names, and how many there are besides: `a, b, c and 4 more`."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most:,} more"


def ordered_components(names: Sequence[str]) -> tuple[str, ...]:
    """Names of components: EPURE's in their order, others as people count: B2 before B10; r, g and b alone are a picture's."""
    if sorted(names) == sorted(_COLOURS):
        return _COLOURS
    return tuple(sorted(names, key=_rank))


def _rank(component: str) -> tuple[int, list[tuple[int, int, str]], str]:
    last = len(EPURE_ORDER)
    place = last + 1 if component == EPURE_ORDER[-1] else EPURE_ORDER.index(component) if component in EPURE_ORDER else last
    return place, natural(component), component


def natural(text: str) -> list[tuple[int, int, str]]:
    """A key that sorts numbers within text by their value, and before letters."""
    pieces = re.split(r"([0-9]+)", text)
    return [(0, int(piece), "") if piece[:1].isdigit() else (1, 0, piece) for piece in pieces if piece]


def safe_name(name: str, limit: int = LONGEST_NAME) -> str:
    """A name as a relative path of which every part has at most `limit` bytes; the same name if it is short enough already.

    A part that is too long is cut, and ends in a digest of the whole name up to there, so that different names stay different.
    """
    if len(_encoded(name)) <= limit:
        return name
    parts = name.split("/")
    return "/".join(
        part if len(_encoded(part)) <= limit else _shortened(part, "/".join(parts[: number + 1]), limit)
        for number, part in enumerate(parts)
    )


def _shortened(part: str, whole: str, limit: int) -> str:
    digest = hashlib.sha256(_encoded(whole)).hexdigest()[:_DIGEST]
    kept = _encoded(part)[: limit - _DIGEST - 1].decode(errors="ignore")
    return f"{kept}_{digest}"


def _encoded(text: str) -> bytes:
    """The bytes of a name on disk; names that are not UTF-8 arrive here as surrogates."""
    return text.encode("utf-8", "surrogateescape")
