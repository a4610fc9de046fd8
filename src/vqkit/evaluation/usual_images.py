"""What is usual for a prior: the signals of validation images, measured once and kept beside it."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.data.loading import all_batches
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import check_data, limit_split
from vqkit.errors import DataError
from vqkit.evaluation.held_out import WORKERS, prior_data
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.inference.oddity import measure_oddity
from vqkit.inference.oddity_reference import OddityReference, read_reference, write_reference
from vqkit.inference.pipeline import BATCH_SIZE
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Split
from vqkit.storage.builtin import is_builtin

REFERENCE_IMAGES = 1000
"""Validation images that are measured, at most."""


class Measured(NamedTuple):
    """Of N images: each of `SIGNALS`, float64 [N], and what `Oddity.largest` gives."""

    signals: dict[str, Tensor]
    largest: dict[str, Tensor]


def usual_images(sampler: Sampler, progress: Progress = no_progress, batch_size: int = BATCH_SIZE) -> OddityReference:
    """What is kept beside the prior; measured now, on validation images of the data that it was trained on, if nothing is.

    Not on training images: a prior knows these, and every new image would look odd beside them. Raises `DataError` where the data
    are needed and are not there, do not fit, or hold fewer than two validation images.
    """
    kept = read_reference(sampler.path, sampler.digest, sampler.pipeline.digest)
    if kept is not None:
        return kept
    dataset = open_dataset(prior_data(sampler))
    check_data(dataset.spec, sampler.spec)
    split = limit_split(dataset.split("val"), REFERENCE_IMAGES)
    found = _as_reference(sampler, measure_split(sampler, split, "measured (validation images)", progress, batch_size))
    if found.images < 2:
        raise DataError(
            f"{found.images} of the {len(split)} validation images of {dataset.spec.name} hold data; at least 2 are needed.",
            "Train on data with more validation images: see data.validation_share.",
        )
    with contextlib.suppress(OSError):  # beside a prior that cannot be written to, it is measured again the next time
        if not is_builtin(sampler.path):
            write_reference(sampler.path, found)
    return found


def _as_reference(sampler: Sampler, measured: Measured) -> OddityReference:
    """What was measured of the images that hold data."""
    there = ~measured.signals["bits"].isnan()
    signals, largest = ({name: each[there].tolist() for name, each in values.items()} for values in measured)
    return OddityReference(sampler.digest, sampler.pipeline.digest, signals, largest)


def measure_split(
    sampler: Sampler, split: Split, what: str, progress: Progress = no_progress, batch_size: int = BATCH_SIZE
) -> Measured:
    """The signals of every image of a split; NaN of one that holds no data."""
    parts = []
    with progress(what, len(split)) as advance:
        for batch in all_batches(split, batch_size, WORKERS):
            found = measure_oddity(sampler, sampler.spec.to_unit(batch.images), batch.observed)
            parts.append(Measured(found.signals(), found.largest()))
            advance(len(batch.images))
    signals, largest = ({name: torch.cat([part[name] for part in each]) for name in each[0]} for each in zip(*parts, strict=True))
    return Measured(signals, largest)
