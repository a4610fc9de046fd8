"""The setting that names a quantizer, in the options of whatever holds one."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from vqkit.config import NamedOptions
from vqkit.registry import QUANTIZERS

DEFAULT = "ema"
"""The quantizer of a group of settings that names none."""


def _name_or_group(value: object) -> object:
    if isinstance(value, str):
        return {"name": value}
    return {"name": DEFAULT, **value} if isinstance(value, dict) else value


def _complete(value: NamedOptions) -> NamedOptions:
    """With the quantizer's own defaults filled in, so that run.yaml holds them."""
    return NamedOptions(name=value.name, **QUANTIZERS.options(value.name, value.options).model_dump())


QuantizerChoice = Annotated[NamedOptions, BeforeValidator(_name_or_group), AfterValidator(_complete)]
"""A registered quantizer: its name, or its settings with or without the name. Its field needs `validate_default=True`."""
