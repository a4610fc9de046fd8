"""What the images of a data set hold: extremes and percentiles of every component, and how much of it is present.

Statistics are of stored values, of present pixels only, and computed in bounded memory as the images go by.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vqkit.data.ranges import ValueCounts
from vqkit.data.subsets import evenly_spaced
from vqkit.errors import DataError
from vqkit.interfaces import SPLITS, Batch, ComponentSpec, ImageDataset, Split, SplitName

MOST_IMAGES = 500
"""Images of a split that are looked at by default, evenly spaced."""
MANY_VALUES = 17
"""Different values of a component that are counted, at most."""

_VALUES_AT_ONCE = 2**23
_SAMPLED = 2**16


@dataclass(frozen=True)
class ComponentStatistics:
    """Stored values of a component in the present pixels of the images that were looked at; None where nothing is present.

    `p1`, `p50`, `p99`: percentiles. Shares: `present` of the pixels, `images_present` of the images that have any, and of the
    present pixels `at_maximum` with the largest value and `outside` of the range. `values`: how many different values were seen,
    at most `MANY_VALUES`.
    """

    spec: ComponentSpec
    minimum: float | None
    p1: float | None
    p50: float | None
    p99: float | None
    maximum: float | None
    at_maximum: float
    outside: float
    values: int
    present: float
    images_present: float

    def to_json(self) -> dict[str, Any]:
        """Plain values: those of the specification by their names, but for its extremes, which are of the training images."""
        described = self.spec.to_json()
        found = {name: value for name, value in vars(self).items() if name != "spec"}
        return {name: described[name] for name in ("name", "kind", "dtype", "unit", "low", "high", "transform", "nodata")} | found


@dataclass(frozen=True)
class SplitStatistics:
    """A split of `images`, of which `looked_at` were looked at; `digests` identify the content of each of these, by name."""

    split: SplitName
    images: int
    looked_at: int
    components: tuple[ComponentStatistics, ...]
    digests: Mapping[str, bytes]


class _Collector:
    """What is known of one component so far."""

    def __init__(self, spec: ComponentSpec) -> None:
        self._spec = spec
        self._counts = ValueCounts(spec.dtype)
        self._pixels = self._images = self._images_present = self._at_maximum = self._outside = 0
        self._values: set[float] = set()

    def add(self, stored: NDArray[np.generic], present: NDArray[np.bool_]) -> None:
        """Images [B, H, W] and where they are present."""
        self._pixels += stored.size
        self._images += len(stored)
        self._images_present += int(present.any(axis=(1, 2)).sum())
        values = stored[present].astype(self._spec.dtype, copy=False)
        if not values.size:
            return
        largest = values.max()
        if float(largest) >= self._counts.maximum:
            before = self._at_maximum if float(largest) == self._counts.maximum else 0
            self._at_maximum = before + int((values == largest).sum())
        self._outside += int(((values < self._spec.low) | (values > self._spec.high)).sum())
        if len(self._values) < MANY_VALUES:
            self._values |= set(np.unique(values[:: -(-values.size // _SAMPLED)]).tolist())
        self._counts.add(values)

    def result(self) -> ComponentStatistics:
        """The statistics of everything that was added."""
        count = self._counts.count
        p1, p50, p99 = (self._counts.percentile(share) if count else None for share in (0.01, 0.5, 0.99))
        return ComponentStatistics(
            spec=self._spec,
            minimum=self._counts.minimum if count else None,
            p1=p1,
            p50=p50,
            p99=p99,
            maximum=self._counts.maximum if count else None,
            at_maximum=self._at_maximum / max(count, 1),
            outside=self._outside / max(count, 1),
            values=min(len(self._values), MANY_VALUES),
            present=count / max(self._pixels, 1),
            images_present=self._images_present / max(self._images, 1),
        )


def inspect_split(split: Split, name: SplitName, most: int = MOST_IMAGES) -> SplitStatistics:
    """Statistics of up to `most` images of a split, evenly spaced. Raises `DataError` for an image that cannot be read."""
    spec = split.spec
    collectors = [_Collector(each) for each in spec.component_specs]
    chosen = evenly_spaced(len(split), most)
    digests: dict[str, bytes] = {}
    size = max(1, _VALUES_AT_ONCE // (len(collectors) * spec.height * spec.width))
    for positions in torch.split(chosen, size):
        stored, present = _arrays(split.batch(positions))
        for index, collector in enumerate(collectors):
            collector.add(stored[:, index], present[:, index])
        for each, values, known in zip(split.names(positions), stored, present, strict=True):
            digests[each] = _digest(values, known)
    return SplitStatistics(name, len(split), len(chosen), tuple(each.result() for each in collectors), digests)


def inspect_others(dataset: ImageDataset, split: SplitName, most: int = MOST_IMAGES) -> list[SplitStatistics]:
    """Statistics of the other splits of a data set; those without images are left out."""
    found: list[SplitStatistics] = []
    for name in SPLITS:
        if name == split:
            continue
        try:
            with warnings.catch_warnings():
                # A set without test images says so where these are asked for, not here.
                warnings.simplefilter("ignore")
                found.append(inspect_split(dataset.split(name), name, most))
        except DataError:
            continue
    return found


def _arrays(batch: Batch) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """Stored values and where they are present, [B, C, H, W]."""
    stored = batch.images.numpy()
    present = np.ones(1, dtype=bool) if batch.present is None else batch.present.numpy()
    return stored, np.broadcast_to(present, stored.shape)


def _digest(values: NDArray[np.generic], present: NDArray[np.bool_]) -> bytes:
    """What identifies an image [C, H, W]; what is absent does not count."""
    known = np.where(present, values, np.zeros(1, dtype=values.dtype))
    return hashlib.blake2b(known.tobytes() + np.packbits(present).tobytes(), digest_size=16).digest()
