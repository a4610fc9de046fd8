"""Extremes and percentiles of the values of one component, counted in bounded memory as the images go by.

Types of at most 16 bits are counted value by value, so their percentiles are exact. Values of other types are counted by sign,
exponent and 13 bits of mantissa: percentiles are then within 1/10,000 of the value itself, whatever the outliers, because no
range has to be known before. Extremes are exact for every type. The result does not depend on the order of the images.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOW_SHARE, HIGH_SHARE = 0.001, 0.999
"""Shares of the values that lie below the ends of a fitted range: the percentiles 0.1 and 99.9."""

_DROPPED_BITS = 10
"""Bits of the mantissa of a float32 that are not counted."""
_SIGN = np.uint32(1 << 31)
_MANY = 2**18
"""More values than this are counted with a table of all keys, which is faster than sorting them."""
_CHUNK = 2**22
"""Values that are counted at once: their keys take 8 bytes each."""


class ValueCounts:
    """How often each value of a component occurs. `dtype` is one of `vqkit.interfaces.components.DTYPES`."""

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.count = 0
        """Values counted."""
        self.minimum, self.maximum = float("inf"), float("-inf")
        """Extremes, exact."""
        self._exact = self.dtype.itemsize <= 2
        # Dense counts of every value, or counts of the keys that occurred, which are sorted.
        self._counts: NDArray[np.int64] = np.zeros(1 << 8 * self.dtype.itemsize if self._exact else 0, dtype=np.int64)
        self._keys: NDArray[np.uint32] = np.zeros(0, dtype=np.uint32)
        # The values themselves, as long as they are at most two.
        self._few: set[float] | None = set()

    def add(self, values: NDArray[np.generic], present: NDArray[np.bool_] | None = None) -> None:
        """Count values of this type, of any shape; only those that are `present`, which is broadcast to them."""
        if present is not None:
            values = values[np.broadcast_to(present, values.shape)]
        flat = values.reshape(-1)
        for start in range(0, flat.size, _CHUNK):
            self._add(flat[start : start + _CHUNK])

    def _add(self, values: NDArray[np.generic]) -> None:
        self.count += values.size
        low, high = values.min(), values.max()
        self.minimum, self.maximum = min(self.minimum, float(low)), max(self.maximum, float(high))
        if self._few is not None:
            few = self._few | {float(low), float(high)}
            self._few = few if len(few) <= 2 and bool(((values == low) | (values == high)).all()) else None
        if self._exact:
            self._counts += np.bincount(self._exact_keys(values), minlength=len(self._counts))
            return
        keys, counts = _counted(_rounded_keys(values))
        together = np.concatenate([self._keys, keys])
        self._keys, places = np.unique(together, return_inverse=True)
        merged = np.zeros(len(self._keys), dtype=np.int64)
        np.add.at(merged, places, np.concatenate([self._counts, counts]))
        self._counts = merged

    def percentile(self, share: float) -> float:
        """The value below which this share of the values lies, interpolated between neighbours as `numpy.percentile` does.

        `share` is from 0 to 1. Raises `ValueError` if nothing was counted.
        """
        if not self.count:
            raise ValueError("no values were counted")
        ends = self._counts.cumsum()
        rank = share * (self.count - 1)
        below = int(rank)
        low, high = (
            self._value(int(np.searchsorted(ends, place, side="right"))) for place in (below, min(below + 1, self.count - 1))
        )
        return min(max(low + (high - low) * (rank - below), self.minimum), self.maximum)

    def consists_of(self, *values: float) -> bool:
        """Whether there are values, and all are among these, which are at most two."""
        return bool(self._few) and set(values).issuperset(self._few or ())

    def _value(self, place: int) -> float:
        """The value that is counted at a position; of rounded ones, the middle of those that share it."""
        if not self._exact:
            first = self._keys[place] << np.uint32(_DROPPED_BITS)
            ends = np.array([first, first | np.uint32((1 << _DROPPED_BITS) - 1)], dtype=np.uint32)
            return float(_from_sortable(ends).astype(np.float64).mean())
        if self.dtype.kind == "f":
            key = np.array([place], dtype=np.uint16)
            return float(np.where(key & 0x8000, key ^ 0x8000, ~key).astype(np.uint16).view(np.float16)[0])
        return float(place + np.iinfo(self.dtype).min)

    def _exact_keys(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        """Positions in the dense counts, in the order of the values."""
        if self.dtype.kind == "f":
            bits = np.ascontiguousarray(values + np.float16(0)).view(np.uint16)  # adding 0 makes -0 the same as 0
            return np.where(bits & 0x8000, 0xFFFF - bits, bits | 0x8000).astype(np.int64)
        return values.astype(np.int64) - np.iinfo(self.dtype).min


def _counted(keys: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Which keys occur, sorted, and how often."""
    if keys.size < _MANY:
        return np.unique(keys, return_counts=True)
    counts = np.bincount(keys)
    (occurring,) = counts.nonzero()
    return occurring.astype(np.uint32), counts[occurring]


def _rounded_keys(values: NDArray[np.generic]) -> NDArray[np.uint32]:
    """Leading bits of values as float32, in the order of the values."""
    limit = np.finfo(np.float32).max
    bits = (values.astype(np.float64).clip(-limit, limit).astype(np.float32) + np.float32(0)).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN) >> np.uint32(_DROPPED_BITS)


def _from_sortable(keys: NDArray[np.uint32]) -> NDArray[np.float32]:
    """float32 numbers from keys of all their bits: the inverse of the order of `_rounded_keys`."""
    return np.where(keys & _SIGN, keys ^ _SIGN, ~keys).astype(np.uint32).view(np.float32)
