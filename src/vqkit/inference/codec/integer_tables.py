"""Counts for whole numbers of any size around a predicted one: a table of bins, fine in the middle and wide outside.

An expected value and a scale stand for a mixture of normal distributions of widths that are fixed multiples of the scale
(`KERNELS`). A number is coded as its bin, and within the bin as equally likely. Bins are 2^shift wide near the expected value, a
quarter of the scale at most, and grow with the distance, so that 136 of them cover all numbers of 16 bits.

Shapes: n numbers, M kernels, J bins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from vqkit.inference.codec.probabilities import Counts, counts_of_shares
from vqkit.inference.codec.range_coding import SymbolCoder

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]

KERNELS = 2.0 ** np.arange(-3, 5)
"""Standard deviations of the mixture, in units of the scale."""
LEAST_SCALE = 2.0**-5
_STEPS = 4
"""Scales of the table per factor of two."""
_SCALES = 22 * _STEPS
_PHASES = 16
"""Places within a bin that an expected value may have."""
_FINE = 16
_OCTAVES = 13
_BINS_AN_OCTAVE = 4
_FOLDED = 2**12
"""Counts of impossible numbers from which they are given to the possible ones."""


def _edges() -> Integers:
    """The edges [J + 1] of bins in units of the finest: 0, 1, ... 16, 20, ... 32, 40, ... and the same below 0."""
    outer = [2**octave * (_FINE + step * _FINE // _BINS_AN_OCTAVE) for octave in range(_OCTAVES) for step in range(_BINS_AN_OCTAVE)]
    positive = np.array([*range(1, _FINE), *outer, _FINE * 2**_OCTAVES])
    return np.concatenate([-positive[::-1], [0], positive])


EDGES = _edges()


class Expected(NamedTuple):
    """Expected values and scales [n] of numbers."""

    values: Reals
    scales: Reals


class IntegerTable:
    """Tables for the mixture with `weights` [M], which sum to 1, of numbers from `low` to `high`."""

    def __init__(self, weights: Reals, low: int, high: int) -> None:
        self._low, self._high = low, high
        scales = LEAST_SCALE * 2.0 ** (np.arange(_SCALES) / _STEPS)
        self._shifts = np.maximum(np.floor(np.log2(scales / 4)), 0).astype(np.int64)
        width = 2.0 ** self._shifts[:, None, None]
        phases = (np.arange(_PHASES) + 0.5) / _PHASES
        places = (EDGES - phases[:, None]) * width - 0.5  # number k covers k - 1/2 to k + 1/2
        below = np.zeros(places.shape)
        for weight, kernel in zip(weights, KERNELS, strict=True):
            below += weight * ndtr(places / (scales * kernel)[:, None, None])
        below[..., 0], below[..., -1] = 0, 1
        shares = np.diff(below, axis=2)
        self._counts = counts_of_shares(shares.reshape(-1, len(EDGES) - 1))
        self._before = np.cumsum(np.pad(self._counts, ((0, 0), (1, 0))), axis=1)

    def code(self, expected: Expected, coder: SymbolCoder, numbers: Integers | None) -> Integers:
        """Code numbers [n]; those that are given are None for one who reads."""
        scale = np.clip(np.rint(_STEPS * np.log2(expected.scales / LEAST_SCALE)).astype(np.int64), 0, _SCALES - 1)
        shift = self._shifts[scale]
        place = np.clip(expected.values, self._low, self._high) / 2.0**shift
        base = np.floor(place).astype(np.int64)
        phase = np.floor((place - base) * _PHASES).astype(np.int64)
        counts = self._folded(scale * _PHASES + phase, base, shift)
        wanted = None if numbers is None else _bin_of((numbers >> shift) - base)
        bins = coder.code(counts, wanted).astype(np.int64)
        # Bins reach beyond the numbers that there are.
        start = np.maximum((base + EDGES[bins]) << shift, self._low)
        stop = np.minimum((base + EDGES[bins + 1]) << shift, self._high + 1)
        within = coder.code_uniform(np.maximum(stop - start, 1), None if numbers is None else numbers - start)
        found: Integers = np.clip(start + within, self._low, self._high)
        return found

    def _folded(self, rows: Integers, base: Integers, shift: Integers) -> Counts:
        """The counts [n, J] of rows, with those of numbers below the lowest given to its bin, and the same at the highest."""
        counts = self._counts[rows]
        lowest, highest = (_bin_of((end >> shift) - base) for end in (self._low, self._high))
        before = self._before[rows, lowest] - lowest
        after = self._before[rows, -1] - self._before[rows, highest + 1] - (counts.shape[1] - 1 - highest)
        for moved, end, side in ((before, lowest, np.less), (after, highest, np.greater)):
            several = np.flatnonzero(moved > _FOLDED)
            at = end[several]
            part = counts[several]
            part[side(np.arange(counts.shape[1]), at[:, None])] = 1
            part[np.arange(len(part)), at] += moved[several]
            counts[several] = part
        return counts


def _bin_of(steps: NDArray[Any]) -> Integers:
    """The bin in which a whole number of finest bins from the base lies."""
    found = np.searchsorted(EDGES, steps, side="right") - 1
    return np.clip(found, 0, len(EDGES) - 2)
