"""The settings that all data sets of image files share."""

from __future__ import annotations

from pydantic import Field

from vqkit.data.augmentation import Crop, Flip, Turn
from vqkit.data.describing import ValueKindChoice, ValueSettings
from vqkit.data.fitting import Fit
from vqkit.data.splits import ValidationShare


class FileSettings(ValueSettings):
    """Settings of data sets of image files."""

    path: str = Field(description="Directory of images.")
    pattern: str | None = Field(
        None,
        description="How files are named below `path`, or below its train/, val/ and test/, such as '{component}/{name}.tif'. "
        "Placeholders: {name}, {component}, {split}, {class}; `*` is any text, `**/` any folders. Default: common layouts are "
        "recognised.",
    )
    components: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="Components to use, in this order; or, where one file holds them without naming them, a name for each channel. "
        "Default: all.",
    )
    conditions: tuple[str, ...] | None = Field(
        None, description="Numeric columns of performances.csv to use as conditions. Default: width_px and height_px if present."
    )
    value_kind: ValueKindChoice = "auto"
    height: int | None = Field(
        None,
        ge=1,
        description="Height in pixels that the model sees. Default: the width; or the images' own, if all have one size.",
    )
    width: int | None = Field(
        None,
        ge=1,
        description="Width in pixels that the model sees. Default: the height; or the images' own, if all have one size.",
    )
    fit: Fit = "auto"
    flip: Flip = False
    crop: Crop = 0
    turn: Turn = False
    memory_mb: int = Field(
        2048, ge=0, description="Largest set, in MiB of pixels, that is kept in memory; larger ones are streamed."
    )
    validation_share: ValidationShare = 0.05
