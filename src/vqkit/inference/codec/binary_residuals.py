"""Shapes, pixel by pixel, given what their codes are decoded to: counts of what was seen in the same context, as in JBIG.

A context is 12 bits: the neighbours W, N, NW, NE, WW and NN of the shape itself, the decoded shape here and at E, S, SE and SW, and
whether an earlier component is set here. How often a pixel was set in each context is counted over all images so far, so nothing
has to be stored, and one who reads counts the same.

Shapes: B images, H x W pixels; images are bool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.inference.codec.probabilities import TOTAL, Counts
from vqkit.inference.codec.range_coding import SymbolCoder
from vqkit.inference.codec.wavefront import EARLIER, Wavefront

Bits = NDArray[np.bool_]

_GUESSED = ((0, 0), (0, 1), (1, 0), (1, 1), (1, -1))
_CONTEXTS = 2 ** (len(EARLIER) + len(_GUESSED) + 1)
_PRIOR_COUNT = 0.05
"""What is counted for `set` and for `not set` before anything was seen: little, because most contexts are sure."""


class BinaryResiduals:
    """Codes one component of all batches of a file."""

    def __init__(self, height: int, width: int) -> None:
        self._front = Wavefront(height, width)
        self._seen = np.zeros((_CONTEXTS, 2), np.int64)

    def code(self, guess: Bits, earlier: Bits, coder: SymbolCoder, shape: Bits | None) -> Bits:
        """The shape [B, H, W], which one who reads does not know; `guess`: decoded from codes; `earlier`: whether a component
        before this one is set.
        """
        front = self._front
        known = front.plane(guess)  # unknown neighbours are as decoded
        given = None if shape is None else front.plane(shape)
        bits = [front.shifted(front.plane(guess), place) for place in _GUESSED]
        context = front.plane(_number([*bits, earlier]), mode="constant")
        offsets = [front.offset(place) for place in EARLIER]
        for group in front.groups:
            own = _number([np.take(known, group + offset, axis=1) for offset in offsets])
            at = (context[:, group] << len(EARLIER) | own).ravel()
            wanted = None if given is None else given[:, group].ravel()
            found = coder.code(self._counts(at), wanted)
            known[:, group] = found.reshape(len(known), -1)
            np.add.at(self._seen, (at, found), 1)
        return front.inside(known)

    def _counts(self, contexts: NDArray[np.int64]) -> Counts:
        """The counts [n, 2] of `not set` and `set` in contexts [n]."""
        seen = self._seen[contexts] + _PRIOR_COUNT
        on = np.floor(seen[:, 1] / seen.sum(axis=1) * (TOTAL - 2)).astype(np.int64) + 1
        return np.stack([TOTAL - on, on], axis=1)


def _number(bits: list[NDArray[Any]]) -> NDArray[np.int64]:
    """Bits as a number, the first one highest."""
    number = np.zeros(bits[0].shape, np.int64)
    for each in bits:
        number = number << 1 | each
    return number
