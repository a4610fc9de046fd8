"""Figures of a run on held-out images, measured once: they are kept beside the run, with the fingerprint of what was measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

import vqkit
from vqkit.core.atomic import write_text
from vqkit.errors import ConfigError
from vqkit.evaluation.autoencoder import Evaluation, evaluate
from vqkit.evaluation.bounds import Bounds, measure_bounds
from vqkit.evaluation.held_out import Progress, open_split, silent
from vqkit.interfaces import DataSpec
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.storage.checkpoints import Loaded

FILE = "report.json"
"""What is kept beside a run."""


@dataclass(frozen=True)
class Protocol:
    """How runs are measured: all on the same `images` test images (None: all), with the same holes.

    Bounds on the probability of an image: on `bound_images` of them, from `bound_samples` draws each.
    """

    images: int | None = None
    bound_images: int = 100
    bound_samples: int = 64


@dataclass(frozen=True)
class Measurement:
    """What was measured of a model: errors, bounds (None where an image has no probability), and its number of parameters."""

    evaluation: Evaluation
    bounds: Bounds | None
    parameters: int


def hidden_parts(spec: DataSpec) -> dict[str, Any]:
    """What is hidden of images in a report, as arguments of `scenarios`: boxes of pixels, and whole components unless the image
    is a colour picture, whose channels are not missing one by one."""
    return {"keeps": [] if spec.is_colour else None, "holes": "boxes"}


def measure(
    loaded: Loaded, run: Path, protocol: Protocol, device: torch.device = torch.device("cpu"), progress: Progress = silent
) -> Measurement:
    """Measure a model, or read what was measured of it before in the same way by the same version of vqkit.

    `loaded` is on the `device`. Raises `DataError` where its test images cannot be read.
    """
    how = {"digest": loaded.digest, "protocol": asdict(protocol), "version": vqkit.__version__}
    kept = _read(run / FILE, how)
    if kept is not None:
        return kept
    parts = hidden_parts(loaded.model.spec)
    evaluation = evaluate(loaded, limit=protocol.images, **parts, device=device, progress=progress)
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    measurement = Measurement(evaluation, _bounds(loaded, protocol, device), parameters)
    write_text(run / FILE, json.dumps({**how, "measurement": asdict(measurement)}, indent=2) + "\n")
    return measurement


def _bounds(loaded: Loaded, protocol: Protocol, device: torch.device) -> Bounds | None:
    if not isinstance(loaded.model, GenerativeAutoencoder):
        return None
    images = open_split(loaded, None, "test", protocol.bound_images)
    try:
        return measure_bounds(loaded.model, images, protocol.bound_samples, device=device)
    except ConfigError:  # by its likelihood an image has no probability
        return None


def _read(file: Path, how: dict[str, Any]) -> Measurement | None:
    """What was kept, if it was measured like that."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if any(content.get(key) != value for key, value in how.items()):
            return None
        return TypeAdapter(Measurement).validate_python(content["measurement"])
    except (OSError, ValueError, KeyError, AttributeError, ValidationError):
        return None
