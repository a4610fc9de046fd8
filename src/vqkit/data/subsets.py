"""Subsets of a data set's splits, and whether a model can take a data set's images."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.interfaces import SPLITS, Batch, ComponentSpec, DataSpec, ImageDataset, Split

_MOST_TIMES_AS_LONG = 4
"""Ranges of values of different types of which one is longer than this many times the other are taken to be of other units."""


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

    Names and kinds of components and the size must be the same; names of conditions and classes may differ. Types of values may
    differ where the values mean the same, as the ranges tell: float32 of what was uint16 in training, but not 0..255 of what was
    0..4095. Warns of values of the same type that lie beside the model's range altogether.
    """
    if given.layout != expected.layout:
        raise DataError(
            f"The data set '{given.name}' has {given.describe_layout()}; the model was trained on {expected.describe_layout()}.",
            "Name fitting data with --data, or a fitting model with --run.",
        )
    for one, other in zip(given.component_specs, expected.component_specs, strict=True):
        apart = one.high <= other.low or one.low >= other.high
        named = f"The component {one.name} of the data set '{given.name}'"
        message = f"{named} holds {_values(one)}; the model was trained on {_values(other)}."
        if not _mean_the_same(one, other, apart):
            raise DataError(message, "Give it values in the units of the training data, as they are in the files of that set.")
        if apart:
            warnings.warn(message, stacklevel=2)


def _mean_the_same(given: ComponentSpec, expected: ComponentSpec, apart: bool) -> bool:
    """Whether values of two specifications can be in the same units. `apart`: their ranges do not overlap."""
    if given.unit and expected.unit and given.unit != expected.unit:
        return False
    if expected.kind == "binary":
        return (given.low, given.high) == (expected.low, expected.high)
    if given.dtype == expected.dtype:
        return True
    lengths = sorted((given.high - given.low, expected.high - expected.low))
    return not apart and lengths[1] <= _MOST_TIMES_AS_LONG * lengths[0]


def _values(spec: ComponentSpec) -> str:
    """The values of a component in words."""
    unit = f" {spec.unit}" if spec.unit else ""
    joined = "and" if spec.kind == "binary" else "to"
    return f"{spec.dtype} values {'' if spec.kind == 'binary' else 'from '}{spec.low:g} {joined} {spec.high:g}{unit}"


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
