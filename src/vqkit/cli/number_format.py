"""How tables print numbers."""

from __future__ import annotations


def decimals(value: float | None, digits: int) -> str:
    """The value with so many decimals; a hyphen where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"
