"""How far a run has come: `training.json` beside the tensors of a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vqkit.core.atomic import write_text
from vqkit.errors import CheckpointError
from vqkit.interfaces.plain_values import first_fault

STATE_FILE = "training.json"
_HINT = "Remove that checkpoint and resume again."


class Progress(BaseModel):
    """`step`: steps that are done; `best`: the lowest validation loss so far, infinite before the first."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", ser_json_inf_nan="constants")

    step: int = Field(ge=0)
    best: float
    version: Literal[1] = 1


def write_progress(file: Path, progress: Progress) -> None:
    """Write it, atomically. Raises `OSError`."""
    write_text(file, progress.model_dump_json())


def read_progress(file: Path, header: Mapping[str, Any]) -> Progress:
    """Read it. `header`: of the training's state, which repeats it under a digest, except in files of format 1.

    Raises `CheckpointError` when the file is missing, is wrong in any value, or says something else than the header.
    """
    try:
        progress = Progress.model_validate_json(file.read_bytes())
    except OSError:
        raise CheckpointError(f"{file} is missing or broken.", _HINT) from None
    except ValidationError as error:
        raise CheckpointError(f"{file} {first_fault(error)}.", _HINT) from None
    for name, value in (("step", progress.step), ("best", progress.best)):
        if name in header and header[name] != value:
            raise CheckpointError(f"{file} was changed: it says {name} {value}, and was written with {header[name]}.", _HINT)
    return progress
