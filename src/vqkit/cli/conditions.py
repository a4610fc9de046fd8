"""`--condition NAME=VALUE`, shared by the commands that take conditions."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from vqkit.cli.panels import KNOWN
from vqkit.errors import ConfigError

ConditionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--condition",
        "-c",
        metavar="NAME=VALUE",
        help="Value of a condition, such as width_px=58; others are unknown. May be repeated.",
        rich_help_panel=KNOWN,
    ),
]


def parse_conditions(assignments: list[str] | None) -> dict[str, float]:
    """Named values.

    Raises `ConfigError` for what is not NAME=NUMBER, for an infinite number, and for two values of one name.
    """
    values: dict[str, float] = {}
    for assignment in assignments or []:
        name, separator, text = (part.strip() for part in assignment.partition("="))
        try:
            value = float(text)
        except ValueError:
            what = f"'{text}' is not a number" if separator else "there is no '='"
            raise ConfigError(
                f"'--condition {assignment}' cannot be read: {what}.", "Write for example --condition width_px=58."
            ) from None
        if math.isinf(value):
            raise ConfigError(f"'--condition {assignment}' is not a finite number.", "Leave the condition out if it is unknown.")
        if repr(values.setdefault(name, value)) != repr(value):  # NaN, which is unknown, is not equal to itself
            raise ConfigError(f"--condition gives {name} twice: {values[name]:g} and {value:g}.", "Keep one of the two.")
    return values


def parse_names(text: str | None, option: str = "--keep") -> tuple[str, ...]:
    """The value `a,b` of an option as ("a", "b"). Raises `ConfigError` when it holds no name.

    What is between commas may be a part of a name: see `DataSpec.named_components`.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ConfigError(f"{option} names no component.", f"Write for example {option} group_nc,bt.")
    return names
