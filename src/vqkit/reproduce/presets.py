"""Presets: what is trained, for how long, and how it is measured, as YAML beside this file or in a file of the user's.

The budget is a number of training images (steps x batch size), the same for every model, and not of seconds: so it is the same on
every machine and under every load, a run that was interrupted ends where it would have ended, and the table can be had again bit
for bit. What a model costs in seconds is a column of the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from vqkit.config import Settings, describe_validation_error, read_config_file
from vqkit.errors import ConfigError, did_you_mean

_FOLDER = Path(__file__).parent / "presets"
Nested = dict[str, Any]


class Adaptation(Settings):
    """What is different for one kind of data."""

    run: Nested = Field({}, description="Further settings of every run.")
    models: dict[str, Nested] = Field({}, description="Further settings of single models, by name.")


class Pretraining(Settings):
    """Encoders that learn by themselves first, and the models that are trained from them too, beside those that are not."""

    models: tuple[str, ...] = Field((), description="Models that take part as MODEL+METHOD without being named.")
    methods: tuple[str, ...] = Field((), description="Methods for them; none named: all that are registered.")
    run: Nested = Field({}, description="Settings of every pretraining run.")


class Preset(Settings):
    """Settings of a comparison. Every group of run settings is a part of a configuration such as those in `configs/`."""

    summary: str = Field(description="What it is for, in a sentence that the page shows.")
    seeds: tuple[int, ...] = Field(min_length=1, description="Seeds that every model is trained with.")
    run: Nested = Field(description="Settings of every run; training.steps among them.")
    network: Nested = Field({}, description="Settings of every model that has them, such as hidden and blocks.")
    models: dict[str, Nested] = Field({}, description="Further settings of single models, by name.")
    data: dict[str, Adaptation] = Field({}, description="What is different, by the name of the registered data set.")
    pretraining: Pretraining = Field(
        Pretraining(), description="Encoders that learn by themselves before some models start from them."
    )
    test_images: int = Field(ge=1, description="Test images that every model is measured on.")
    bound_images: int = Field(ge=1, description="Images among them whose probability is bounded.")
    bound_samples: int = Field(ge=1, description="Draws an image for these bounds.")


def preset_names() -> list[str]:
    """The presets that come with vqkit."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_preset(preset: str) -> Preset:
    """A preset by its name, or from a YAML file. Raises `ConfigError` for an unknown name, and for a wrong key or value."""
    names = preset_names()
    if preset in names:
        file = _FOLDER / f"{preset}.yaml"
    elif preset.endswith((".yaml", ".yml")):
        file = Path(preset)
    else:
        raise ConfigError(f"There is no preset '{preset}'.", f"{did_you_mean(preset, names)} Or name a YAML file.")
    try:
        return Preset.model_validate(read_config_file(file))
    except ValidationError as error:
        raise ConfigError(*describe_validation_error(error, Preset, f"the preset {preset}")) from None
