"""The option that selects a quantizer, for models and quantizers that contain one."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from vqkit.config import NamedOptions
from vqkit.registry import QUANTIZERS

DEFAULT = "ema"
"""The quantizer when the settings name none."""


def _name_or_group(value: object) -> object:
    if isinstance(value, str):
        return {"name": value}
    return {"name": DEFAULT, **value} if isinstance(value, dict) else value


def _complete(value: NamedOptions) -> NamedOptions:
    """Fill in the defaults of the quantizer, so that run.yaml contains them."""
    return NamedOptions(name=value.name, **QUANTIZERS.options(value.name, value.options).model_dump())


QuantizerChoice = Annotated[NamedOptions, BeforeValidator(_name_or_group), AfterValidator(_complete)]
"""A registered quantizer, given by its name or by a mapping of its settings. The field needs `validate_default=True`."""
