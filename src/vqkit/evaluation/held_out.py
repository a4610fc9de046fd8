"""Held-out images for a trained model: opening a split, checking it against the model, and reading it in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vqkit.config import NamedOptions, merge
from vqkit.core import distributed
from vqkit.data.loading import evaluation_batches
from vqkit.data.opening import name_data, open_dataset, resolve_data, without_measured
from vqkit.data.subsets import check_data, choose_split
from vqkit.errors import DataError
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, ImageDataset, Split
from vqkit.storage.checkpoints import Loaded

WORKERS = 2
"""Processes that read images which are not in memory."""


def open_data(loaded: Loaded, data: str | NamedOptions | None) -> ImageDataset:
    """`data`, or what the model was trained on. Raises `ConfigError` and `DataError` where that cannot be opened."""
    return open_dataset(_resolve(loaded, data))


def open_split(loaded: Loaded, data: str | NamedOptions | ImageDataset | None, split: str, limit: int | None = None) -> Split:
    """The images of a split of `data`, or of what the model was trained on; with a `limit`, that many of them (see
    `shuffled_indices`).

    Raises `ConfigError` for an unknown split and `DataError` for images that the model cannot take.
    """
    dataset = data if isinstance(data, ImageDataset) else open_data(loaded, data)
    check_data(dataset.spec, loaded.model.spec)
    return choose_split(dataset, split, limit)


def data_settings(loaded: Loaded, data: str | NamedOptions | None) -> dict[str, Any]:
    """The name (or path) of the data set that `open_split` opens, and its settings, as plain values."""
    return _resolve(loaded, data).model_dump(mode="json")


def _resolve(loaded: Loaded, data: str | NamedOptions | None) -> NamedOptions:
    """The data set to open. Another one of the kind that the model was trained on is read with the same settings."""
    if isinstance(data, str):
        data = NamedOptions(**merge(without_measured(loaded.data).model_dump(), name_data(data)))
    return loaded.data if data is None else resolve_data(data)


def prior_data(sampler: Sampler, data: str | NamedOptions | None = None) -> NamedOptions:
    """`data`, or what a prior was trained on, with all of its settings. Raises `DataError` where neither is known.

    Other data of the kind that the prior was trained on are read with the same settings, such as the size.
    """
    named = sampler.data if data is None else data
    if isinstance(data, str) and sampler.data is not None:
        named = NamedOptions(**merge(without_measured(sampler.data).model_dump(), name_data(data)))
    if named is None:
        raise DataError(f"The prior {sampler.path} does not name the data set that it was trained on.", "Name one with --data.")
    return resolve_data(named)


def batches_with_positions(
    images: Split, batch_size: int, what: str, progress: Progress = no_progress
) -> Iterator[tuple[Tensor, Batch]]:
    """This process's batches, each with the positions of its images in the whole split, int64 [B].

    `what` is done with them, for `progress`.
    """
    first = distributed.share(len(images)).start
    with progress(what, len(distributed.share(len(images)))) as advance:
        for batch in evaluation_batches(images, batch_size, WORKERS):
            count = len(batch.images)
            yield images.positions(torch.arange(first, first + count)), batch
            first += count
            advance(count)
