"""Dataclasses from the plain values that a header holds: every value is of the type that the field says, or it is refused."""

from __future__ import annotations

import json
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from vqkit.errors import DataError

Described = TypeVar("Described")
_LONGEST = 80
_HINT = "It was edited or is damaged; use another file."


def from_plain(described: type[Described], content: object) -> Described:
    """A dataclass from the plain values that `dataclasses.asdict` gave of it; unknown names are ignored.

    Nothing is converted but lists to tuples and whole numbers to floating point ones. Raises `DataError` naming the first value
    that is missing or of a wrong type, and what the class itself raises.
    """
    try:
        text = json.dumps(content)
    except (TypeError, ValueError, RecursionError):
        raise DataError(f"What describes a {described.__name__} is no JSON.", _HINT) from None
    try:
        result: Described = TypeAdapter(described).validate_json(text, strict=True)
        return result
    except ValidationError as error:
        raise DataError(f"The {described.__name__} {first_fault(error)}.", _HINT) from None


def first_fault(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, in words, for a sentence that begins with what is described."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "as a whole"
    given = "" if first["type"] == "missing" else f" (given: {first['input']!r:.{_LONGEST}})"
    reason = first["msg"].removeprefix("Value error, ")
    return f"has a wrong value at {place}: {reason[0].lower()}{reason[1:]}{given}"
