"""Presets: what is trained, for how long, and how it is evaluated, as YAML files in `presets/` or a file of the user.

The budget is a number of training images (steps x batch size), the same for every model, rather than a time. It is therefore
independent of the machine and its load, an interrupted run resumes to the same result, and the table is reproducible bit for bit.
The training time of each model is a column of the table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from vqkit.config import Settings, describe_validation_error, read_config_file
from vqkit.errors import ConfigError, did_you_mean

_FOLDER = Path(__file__).parent / "presets"
Nested = dict[str, Any]


class Adaptation(Settings):
    """Settings that differ for one kind of data."""

    run: Nested = Field({}, description="Additional settings of every run.")
    models: dict[str, Nested] = Field({}, description="Additional settings of individual models, by name.")


class Pretraining(Settings):
    """Models that are also trained from pretrained encoders, and how those are pretrained."""

    models: tuple[str, ...] = Field((), description="Models that take part as MODEL+METHOD by default.")
    methods: tuple[str, ...] = Field((), description="Pretraining methods for them. Default: all registered methods.")
    run: Nested = Field({}, description="Settings of every pretraining run.")


class Preset(Settings):
    """Settings of a comparison. Run settings are part of a training configuration, as in `configs/`."""

    summary: str = Field(description="Purpose in one sentence, shown in the report.")
    seeds: tuple[int, ...] = Field(min_length=1, description="Seeds with which every model is trained.")
    run: Nested = Field(description="Settings of every run; must include training.steps.")
    network: Nested = Field({}, description="Settings of every model that has them, such as hidden and blocks.")
    models: dict[str, Nested] = Field({}, description="Additional settings of individual models, by name.")
    data: dict[str, Adaptation] = Field({}, description="Settings that differ by data, by the name of the registered data set.")
    pretraining: Pretraining = Field(Pretraining(), description="Pretrained encoders, and the models that start from them.")
    test_images: int = Field(ge=1, description="Test images on which every model is evaluated.")
    bound_images: int = Field(ge=1, description="Number of test images for the likelihood bounds.")
    bound_samples: int = Field(ge=1, description="Importance samples per image for the likelihood bounds.")

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """A run that counts twice would make the variation between seeds smaller than it is."""
        if len(set(seeds)) < len(seeds):
            raise ValueError("seeds must differ from each other")
        return seeds


def preset_names() -> list[str]:
    """Names of the presets that vqkit ships."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_preset(preset: str) -> Preset:
    """Load a preset by name or from a YAML file. Raises `ConfigError` for an unknown name, key or invalid value."""
    names = preset_names()
    if preset in names:
        file = _FOLDER / f"{preset}.yaml"
    elif preset.endswith((".yaml", ".yml")):
        file = Path(preset)
        if not file.exists():
            raise ConfigError(
                f"The preset {preset} does not exist.",
                f"Known: {', '.join(names)}. One of your own is a file like {_FOLDER / 'smoke.yaml'}.",
            )
    else:
        raise ConfigError(f"There is no preset '{preset}'.", f"{did_you_mean(preset, names)} Or give a YAML file.")
    try:
        return Preset.model_validate(read_config_file(file))
    except ValidationError as error:
        raise ConfigError(*describe_validation_error(error, Preset, f"the preset {preset}")) from None
