"""Subsets of a data set's splits, and whether a model can take a data set's images."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.interfaces import SPLITS, Batch, DataSpec, ImageDataset, Split


def choose_split(dataset: ImageDataset, split: str, limit: int | None = None) -> Split:
    """The images of a split, or `limit` of them (see `shuffled_indices`). Raises `ConfigError` for an unknown split."""
    if split not in SPLITS:
        raise ConfigError(f"There is no split '{split}'.", did_you_mean(split, SPLITS))
    return limit_split(dataset.split(next(name for name in SPLITS if name == split)), limit)


def limit_split(images: Split, limit: int | None) -> Split:
    """A split, or `limit` images of it (see `shuffled_indices`)."""
    return images if limit is None or limit >= len(images) else Subset(images, shuffled_indices(len(images), limit))


def check_data(given: DataSpec, expected: DataSpec) -> None:
    """Raise `DataError` unless a model trained on `expected` can take images of `given`.

    Components, size and kind of values must be the same; names of conditions and classes may differ.
    """
    if given.layout != expected.layout:
        raise DataError(
            f"The data set '{given.name}' has {given.describe_layout()}; the model was trained on {expected.describe_layout()}.",
            "Name fitting data with --data, or a fitting model with --run.",
        )


def align_conditions(batch: Batch, given: DataSpec, expected: DataSpec) -> Batch:
    """The batch with the conditions that the model knows, in its order; NaN for those the data set does not have."""
    if given.condition_names == expected.condition_names:
        return batch
    columns = dict(zip(given.condition_names, batch.conditions.T, strict=True))
    unknown = torch.full((len(batch.images),), torch.nan, device=batch.conditions.device)
    rows = [columns.get(name, unknown) for name in expected.condition_names]
    return batch._replace(conditions=torch.stack(rows, dim=1) if rows else batch.conditions[:, :0])


def evenly_spaced(count: int, most: int) -> Tensor:
    """Up to `most` positions, spread evenly over `count`: int64."""
    return torch.linspace(0, count - 1, min(most, count), dtype=torch.float64).round().long()


def shuffled_indices(total: int, count: int) -> Tensor:
    """`count` positions from all over `total` images, int64 [count], always the same; over and over where there are fewer images.

    Not the first ones: pictures often come sorted by class. A smaller count gives the beginning of a larger one.
    """
    order = torch.randperm(total, generator=generator_for("mixed order", total))
    return order[torch.arange(count) % total]


class Subset(Split):
    """Only the images of a split at some positions, int64 [N]."""

    def __init__(self, split: Split, positions: Tensor) -> None:
        super().__init__(split.spec)
        self._split, self._positions = split, positions

    @property
    def in_memory(self) -> bool:
        """As the split itself."""
        return self._split.in_memory

    def __len__(self) -> int:
        return len(self._positions)

    def batch(self, indices: Tensor) -> Batch:
        """See `Split.batch`."""
        return self._split.batch(self._positions[indices])

    def names(self, indices: Tensor) -> list[str]:
        """See `Split.names`."""
        return self._split.names(self._positions[indices])

    def positions(self, indices: Tensor) -> Tensor:
        """See `Split.positions`: an image keeps its position, whichever images are beside it here."""
        return self._split.positions(self._positions[indices])
