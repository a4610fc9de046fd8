"""Held-out images for a trained model: the split that is meant, checked against the model, in batches that know their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from vqkit.config import NamedOptions, merge
from vqkit.core import distributed
from vqkit.data.loading import evaluation_batches
from vqkit.data.opening import name_data, open_dataset, resolve_data
from vqkit.data.subsets import check_data, choose_split
from vqkit.interfaces import Batch, Split
from vqkit.storage.checkpoints import Loaded

WORKERS = 2
"""Processes that read pictures which are not in memory."""
Progress = Callable[[int], AbstractContextManager[Callable[[int], None]]]
"""Given the number of images, a context that gives a function to call with how many more are done."""


def open_split(loaded: Loaded, data: str | NamedOptions | None, split: str, limit: int | None = None) -> Split:
    """The images of a split of `data`, or of what the model was trained on; with a `limit`, so many of them (see
    `shuffled_indices`).

    Raises `ConfigError` for an unknown split and `DataError` for images that the model cannot take.
    """
    dataset = open_dataset(_meant(loaded, data))
    check_data(dataset.spec, loaded.model.spec)
    return choose_split(dataset, split, limit)


def described_data(loaded: Loaded, data: str | NamedOptions | None) -> dict[str, Any]:
    """The name (or path) of the data set that is meant, and its settings, as plain values."""
    return _meant(loaded, data).model_dump(mode="json")


def _meant(loaded: Loaded, data: str | NamedOptions | None) -> NamedOptions:
    """The data set that is meant. Another one of the kind that the model was trained on is read with the same settings."""
    if isinstance(data, str):
        data = NamedOptions(**merge(loaded.data.model_dump(), name_data(data)))
    return loaded.data if data is None else resolve_data(data)


def silent(total: int) -> AbstractContextManager[Callable[[int], None]]:
    """The progress that nobody watches."""
    del total
    return nullcontext(lambda done: None)


def numbered_batches(images: Split, batch_size: int, progress: Progress = silent) -> Iterator[tuple[int, Batch]]:
    """This process's batches, each with the position of its first image in the split."""
    first = distributed.share(len(images)).start
    with progress(len(images)) as advance:
        for batch in evaluation_batches(images, batch_size, WORKERS):
            yield first, batch
            first += len(batch.images)
            advance(len(batch.images))
