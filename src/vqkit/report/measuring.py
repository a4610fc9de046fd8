"""Evaluation of a run for a report, done once: the results are cached beside the run, with digests of the model and its data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

import vqkit
from vqkit.core.atomic import write_text
from vqkit.data.fingerprints import fingerprint
from vqkit.errors import ConfigError, VQKitError
from vqkit.evaluation.autoencoder import Evaluation, evaluate
from vqkit.evaluation.bounds import Bounds, measure_bounds
from vqkit.evaluation.held_out import open_data, open_split
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.interfaces import DataSpec
from vqkit.interfaces.models import GenerativeAutoencoder
from vqkit.storage.checkpoints import Loaded

FILE = "report.json"
"""The cached results beside a run."""


@dataclass(frozen=True)
class EvaluationProtocol:
    """How runs are evaluated: all on the same `images` test images (None: all), with the same masks.

    Bounds on the log-likelihood: on `bound_images` of them, from `bound_samples` posterior samples each.
    """

    images: int | None = None
    bound_images: int = 100
    bound_samples: int = 64


@dataclass(frozen=True)
class Measurement:
    """Results for a model: errors, bounds (None for a model without a likelihood), and its number of parameters."""

    evaluation: Evaluation
    bounds: Bounds | None
    parameters: int


def report_request(spec: DataSpec, limit: int | None = None) -> EvaluationRequest:
    """What a report evaluates: boxes of pixels, and whole components, except for colour images, whose channels are all kept."""
    return EvaluationRequest(keep_sets=[] if spec.is_colour else None, mask_kind="boxes", limit=limit)


def measure(
    loaded: Loaded,
    run: Path,
    protocol: EvaluationProtocol,
    device: torch.device = torch.device("cpu"),
    progress: Progress = no_progress,
) -> Measurement:
    """Evaluate a model, or read the cached results of the same protocol and version of vqkit on the same images.

    `loaded` is on the `device`. Raises `DataError` where its test images cannot be read.
    """
    data = _data_digests(loaded, protocol)
    how = {"digest": loaded.digest, "data": data, "protocol": asdict(protocol), "version": vqkit.__version__}
    kept = _read(run / FILE, how)
    if kept is not None:
        return kept
    evaluation = evaluate(loaded, report_request(loaded.model.spec, protocol.images), device, progress)
    parameters = sum(parameter.numel() for parameter in loaded.model.parameters())
    measurement = Measurement(evaluation, _bounds(loaded, protocol, device), parameters)
    write_text(run / FILE, json.dumps({**how, "measurement": asdict(measurement)}, indent=2) + "\n")
    return measurement


def _data_digests(loaded: Loaded, protocol: EvaluationProtocol) -> dict[str, Any]:
    """What identifies the images that a model is measured on, and those that simple predictors are fitted to, if there are some."""
    limit = None if protocol.images is None else max(protocol.images, protocol.bound_images)
    dataset = open_data(loaded, None)
    try:
        training = fingerprint(open_split(loaded, dataset, "train"))._asdict()
    except VQKitError:  # then there are no simple predictors
        training = None
    return {"train": training, "test": fingerprint(open_split(loaded, dataset, "test", limit))._asdict()}


def _bounds(loaded: Loaded, protocol: EvaluationProtocol, device: torch.device) -> Bounds | None:
    if not isinstance(loaded.model, GenerativeAutoencoder):
        return None
    images = open_split(loaded, None, "test", protocol.bound_images)
    try:
        return measure_bounds(loaded.model, images, protocol.bound_samples, device=device)
    except ConfigError:  # its likelihood is no density of pixel values
        return None


def _read(file: Path, how: dict[str, Any]) -> Measurement | None:
    """The cached results, if they were measured in this way."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if any(content.get(key) != value for key, value in how.items()):
            return None
        return TypeAdapter(Measurement).validate_python(content["measurement"])
    except (OSError, ValueError, KeyError, AttributeError, ValidationError):
        return None
