"""What every group of settings is: frozen, documented, unknown keys refused; and what a wrong setting is answered with."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vqkit.renamed import KEYS


class Settings(BaseModel):
    """Base of every group of settings: frozen, documented, unknown keys refused. Text may be written as a number: [1, 2]."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False, coerce_numbers_to_str=True)


class NamedOptions(BaseModel):
    """The name of a registered part and its own settings, which the part itself checks."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    name: str = Field(description="A name of the registry; `vqkit models` lists them.")

    @property
    def options(self) -> dict[str, Any]:
        """The settings without the name."""
        return dict(self.model_extra or {})


def describe_validation_error(
    error: ValidationError, schema: type[BaseModel], subject: str, group: str = "", part: str = ""
) -> tuple[str, str]:
    """A sentence and a hint for the first thing that pydantic found wrong.

    `group`, `part`: the kind and the name of the registered part whose settings these are; nothing for the configuration of a run.
    """
    first = error.errors()[0]
    place = [str(step) for step in first["loc"]]
    key = ".".join(place)
    if first["type"] == "extra_forbidden":
        old, new = _renamed(key, first["input"], f"{group}." if group else "")
        if new is not None:
            return f"{subject[0].upper()}{subject[1:]} has no setting '{old}'.", f"Its name is '{new}' now."
        known = _keys_at(schema, place[:-1])
        close = difflib.get_close_matches(place[-1], known, n=1, cutoff=0.5)
        guess = f"Did you mean '{'.'.join([*place[:-1], close[0]])}'? " if close else ""
        return f"{subject[0].upper()}{subject[1:]} has no setting '{key}'.", f"{guess}Known here: {', '.join(known) or 'none'}."
    reason = first["msg"].removeprefix("Value error, ").removesuffix(".")
    given = "" if first["type"] in ("value_error", "missing") else f" (given: {first['input']!r})"
    where = f"{subject}, {key}" if key else subject  # of what several settings are together, pydantic names none
    hint = f"vqkit models {part} lists its settings." if part else "See the configuration reference in docs/configuration.md."
    return f"In {where}: {reason[0].lower()}{reason[1:]}{given}.", hint


def _renamed(key: str, value: Any, prefix: str) -> tuple[str, str | None]:
    """The old key, down to a setting inside of it that was renamed too, and the new one; None if it was not renamed."""
    inside = [f"{key}.{child}" for child in value] if isinstance(value, Mapping) else []
    for old in (*inside, key):
        if f"{prefix}{old}" in KEYS:
            return old, KEYS[f"{prefix}{old}"].removeprefix(prefix)
    return key, None


def _keys_at(schema: type[BaseModel], place: Sequence[str]) -> list[str]:
    """Names of the settings of the group at `place` below `schema`."""
    for part in place:
        if part.isdecimal():  # the position of an item in a list
            continue
        field = schema.model_fields.get(part)
        if field is None:
            return []
        candidates = [field.annotation, *get_args(field.annotation)]
        # In Python 3.10, `list[str]` is an instance of `type` that `issubclass` refuses: it has arguments, which a class has not.
        groups = [item for item in candidates if isinstance(item, type) and not get_args(item) and issubclass(item, BaseModel)]
        if not groups:
            return []
        schema = groups[0]
    return list(schema.model_fields)
