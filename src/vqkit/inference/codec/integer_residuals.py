"""Whole numbers, pixel by pixel, given what their codes are decoded to, their neighbours, and the components before them.

Expected values and scales follow from features by parameters that `integer_fitting` fits to the batch and that the file holds.
Features are added one by one in float64, each number by itself, so that one who reads gets the same sums.

Shapes: B images, H x W pixels, m pixels of a group of the wavefront.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqkit.inference.codec.integer_fitting import Scales, as_stored, fit_means, fit_scales, fit_shares, shares_of
from vqkit.inference.codec.integer_tables import KERNELS, LEAST_SCALE, Expected, IntegerTable
from vqkit.inference.codec.range_coding import DamagedStreamError, SymbolCoder
from vqkit.inference.codec.wavefront import EARLIER, Wavefront

Integers = NDArray[np.int64]
Reals = NDArray[np.float64]

_AROUND = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1), (0, -2), (-2, 0))
"""Neighbours of the guess that are features: all sides, because the whole guess is known."""
_OTHER = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1))
"""Places at which another component is a feature."""
_MOST_OTHERS = 4
_SAMPLE = 2**17
"""Values of a batch to which parameters are fitted, evenly spread."""


class Component(NamedTuple):
    """A component that is known: values, guess, and how far the values were from what was expected, [B, H, W] each."""

    values: Reals
    guess: Reals
    errors: Reals


class Parameters(NamedTuple):
    """What is stored for one component of a batch.

    `low`, `high`: extremes of the values; `others`: numbers of the components that are features; `means` [F]: weights of expected
    values, the last one the bias; `scales`; `start`: the error of neighbours beyond the edges; `shares` [M]: of the kernels.
    """

    low: int
    high: int
    others: tuple[int, ...]
    means: Reals
    scales: Scales
    start: float
    shares: NDArray[np.uint8]

    def pack(self) -> bytes:
        """All of it as bytes."""
        numbers = np.concatenate([self.means, [self.scales.base], self.scales.weights, [self.start]])
        head = struct.pack("<iiB", self.low, self.high, len(self.others)) + bytes(self.others)
        return head + numbers.astype("<f2").tobytes() + self.shares.tobytes()

    @classmethod
    def unpack(cls, content: bytes, component: int) -> tuple[Parameters, bytes]:
        """The parameters at the front, and the rest. Raises `DamagedStreamError` where there are none."""
        fixed = struct.calcsize("<iiB")
        if len(content) < fixed:
            raise DamagedStreamError
        low, high, count = struct.unpack("<iiB", content[:fixed])
        others, rest = tuple(content[fixed : fixed + count]), content[fixed + count :]
        means = 1 + len(EARLIER) + len(_AROUND) + count * len(_OTHER)
        weights = len(EARLIER) + 1 + 2 * count
        size = 2 * (means + weights + 2)
        right = low <= high and count <= _MOST_OTHERS and all(other < component for other in others)
        if not right or len(rest) < size + len(KERNELS):
            raise DamagedStreamError
        numbers = np.frombuffer(rest[:size], "<f2").astype(np.float64)
        shares = np.frombuffer(rest[size : size + len(KERNELS)], np.uint8)
        if not np.isfinite(numbers).all() or not shares.any():
            raise DamagedStreamError
        scales = Scales(float(numbers[means]), numbers[means + 1 : -1])
        return cls(low, high, others, numbers[:means], scales, float(numbers[-1]), shares), rest[size + len(KERNELS) :]


class IntegerResiduals:
    """Codes one component of a batch."""

    def __init__(self, height: int, width: int) -> None:
        self._front = Wavefront(height, width)

    def fit(self, values: Integers, guess: Integers, before: list[Component]) -> Parameters:
        """Parameters for the values [B, H, W] of a component, given their guess and the components before it."""
        front = self._front
        truth, guessed = values.astype(np.float64), guess.astype(np.float64)
        others = _most_related(truth - guessed, before)
        own = front.plane(guessed)
        front.inside(own)[:] = truth
        columns = [front.shifted(own, place) - guessed for place in EARLIER]
        columns += self._known_features(guessed, [before[other] for other in others])
        step = max(1, truth.size // _SAMPLE)
        sampled = np.stack([column.ravel()[::step] for column in [*columns, np.ones_like(truth)]], axis=1)
        wanted = (truth - guessed).ravel()[::step]
        means, start, scales = np.zeros(0), 0.0, Scales(1.0, np.zeros(0))
        precision = np.ones(len(wanted))
        for _ in range(2):
            means = fit_means(sampled, wanted, precision)
            errors = truth - _added(guessed + means[-1], means, columns)
            start = float(as_stored(np.abs(errors).mean()))
            spread = front.plane(np.abs(errors), mode="constant", constant_values=start)
            scale_columns = [front.shifted(spread, place) for place in EARLIER]
            scale_columns += self._known_spreads(guessed, [before[other] for other in others])
            features = np.stack([column.ravel()[::step] for column in scale_columns], axis=1)
            scales = fit_scales(features, np.abs(errors).ravel()[::step])
            expected = np.maximum(scales.base + features @ scales.weights, LEAST_SCALE)
            precision = 1 / expected**2
        shares = fit_shares(errors.ravel()[::step], expected)
        return Parameters(int(values.min()), int(values.max()), others, means, scales, start, shares)

    def code(
        self, guess: Integers, before: list[Component], parameters: Parameters, coder: SymbolCoder, values: Integers | None
    ) -> Component:
        """The component, whose values [B, H, W] one who reads does not know."""
        front, guessed = self._front, guess.astype(np.float64)
        others = [before[other] for other in parameters.others]
        table = IntegerTable(shares_of(parameters.shares), parameters.low, parameters.high)
        count = len(EARLIER)
        means, scales = parameters.means, parameters.scales
        mean = front.plane(_added(guessed + means[-1], means[count:], self._known_features(guessed, others)))
        scale = front.plane(
            _added(np.full(guessed.shape, scales.base), scales.weights[count:], self._known_spreads(guessed, others))
        )
        own, given = front.plane(guessed), None if values is None else front.plane(values)
        guessed_plane = own.copy()
        errors = np.full(own.shape, parameters.start)
        signed = np.zeros(own.shape)
        offsets = [front.offset(place) for place in EARLIER]
        for group in front.groups:
            here = guessed_plane[:, group]
            expected = _added(mean[:, group], means, [own[:, group + offset] - here for offset in offsets])
            spread = _added(scale[:, group], scales.weights, [errors[:, group + offset] for offset in offsets])
            wanted = None if given is None else given[:, group].ravel()
            found = table.code(Expected(expected.ravel(), np.maximum(spread, LEAST_SCALE).ravel()), coder, wanted)
            own[:, group] = found.reshape(here.shape)
            signed[:, group] = own[:, group] - expected
            errors[:, group] = np.abs(signed[:, group])
        return Component(front.inside(own).copy(), guessed, front.inside(signed).copy())

    def _known_features(self, guess: Reals, others: list[Component]) -> list[Reals]:
        """Features of expected values that are known before the component is: [B, H, W] each."""
        front = self._front
        plane = front.plane(guess)
        features = [front.shifted(plane, place) - guess for place in _AROUND]
        for other in others:
            plane = front.plane(other.values)
            features += [front.shifted(plane, place) - other.guess for place in _OTHER]
        return features

    def _known_spreads(self, guess: Reals, others: list[Component]) -> list[Reals]:
        """Features of scales that are known before the component is: [B, H, W] each."""
        front = self._front
        plane = front.plane(guess)
        sides = ((0, -1), (0, 1), (-1, 0), (1, 0))
        features = [sum((np.abs(front.shifted(plane, side) - guess) for side in sides), np.zeros(guess.shape))]
        for other in others:
            plane = front.plane(np.abs(other.errors))
            features += [np.abs(other.errors), sum((front.shifted(plane, side) for side in sides), np.zeros(guess.shape))]
        return features


def _added(start: Reals, weights: Reals, features: list[Reals]) -> Reals:
    """`start` and the features, each times its weight, added one after the other; further weights are not used."""
    total = start
    for weight, feature in zip(weights, features, strict=False):
        total = total + weight * feature
    return total


def _most_related(residual: Reals, before: list[Component]) -> tuple[int, ...]:
    """Numbers of the components whose residuals [B, H, W] go with these most, at most `_MOST_OTHERS`, in their order."""
    centred = residual - residual.mean()
    related = []
    for other in before:
        theirs = other.values - other.guess
        theirs = theirs - theirs.mean()
        size = np.sqrt((centred**2).sum() * (theirs**2).sum())
        related.append(abs(float((centred * theirs).sum())) / size if size > 0 else 0.0)
    order = sorted(range(len(before)), key=lambda number: -related[number])
    return tuple(sorted(order[:_MOST_OTHERS]))
