"""Whether the data of a run that is resumed are those that it was trained on: `data.json` in the run says which these were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vqkit.core.atomic import write_text
from vqkit.data.fingerprints import Fingerprint
from vqkit.errors import CheckpointError, ConfigError
from vqkit.interfaces.plain_values import first_fault

DATA_FILE = "data.json"


class _Split(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    images: int = Field(ge=0)
    names: str
    content: str


class _Recorded(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    train: _Split
    val: _Split


def write_identity(run: Path, found: Mapping[str, Fingerprint]) -> None:
    """Record the data of a run, by split. Raises `OSError`."""
    write_text(run / DATA_FILE, json.dumps({name: each._asdict() for name, each in found.items()}, indent=1) + "\n")


def check_identity(run: Path, found: Mapping[str, Fingerprint]) -> None:
    """Raise `ConfigError` saying what is different if these data are not those of the run. A run may have no record of them.

    Raises `CheckpointError` for a record that is damaged.
    """
    recorded = _recorded(run)
    if recorded is None:
        return
    on_purpose = _on_purpose(run)
    for name, before in (("train", recorded.train), ("val", recorded.val)):
        now = found[name]
        if now.images != before.images:
            difference = f"{now.images} {name} images, where it was trained with {before.images}"
        elif now.names != before.names:
            difference = f"{name} images of other names than those that it was trained with"
        elif now.content != before.content:
            difference = f"{name} images, conditions or labels that are not as they were"
        else:
            continue
        raise ConfigError(
            f"The data of the run {run} have changed: there are {difference}.",
            f"Restore the data, or train a new run with --out; {on_purpose}",
        )


def recorded_images(run: Path) -> int | None:
    """How many training images the run has, or None where it has no record. Raises `CheckpointError` for a damaged one."""
    recorded = _recorded(run)
    return None if recorded is None else recorded.train.images


def _recorded(run: Path) -> _Recorded | None:
    file = run / DATA_FILE
    if not file.is_file():
        return None
    try:
        return _Recorded.model_validate_json(file.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{file} {first_fault(error)}.", f"It was edited or is damaged; {_on_purpose(run)}") from None


def _on_purpose(run: Path) -> str:
    return f"to go on with these on purpose, remove {run / DATA_FILE}."
