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

_HEAD = "<iiBB"
_AROUND = ((0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (-1, 1), (1, -1), (1, 1), (0, -2), (-2, 0))
"""Neighbours of the guess that are features: all sides, because the whole guess is known."""
_OTHER = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1))
"""Places at which another component is a feature."""
_MOST_OTHERS = 4
_OWN_MEANS, _OWN_SPREADS = len(EARLIER) + 1, len(EARLIER) + 2
"""Features of expected values and of scales that follow from pixels just coded."""
_SAMPLE = 2**17
"""Values of a batch to which parameters are fitted, evenly spread."""
_VALUES_A_CLASS, _MOST_CLASSES = 2**13, 4
"""Values of a batch for which one more class of pixels pays, and how many there are at most."""
_ROUNDS = 3
"""Of fitting: expected values, then their scales, which decide on classes and weights of the next round."""


class Component(NamedTuple):
    """A component that is known: values, guess, and how far the values were from what was expected, [B, H, W] each."""

    values: Reals
    guess: Reals
    errors: Reals


class Parameters(NamedTuple):
    """What is stored for one component of a batch.

    `low`, `high`: extremes of the values; `others`: numbers of the components that are features; `limits` [K - 1]: scales that
    separate K classes of pixels; `means` [K, F]: weights of expected values for each of them, the last one the bias; `scales`;
    `start`: the error of neighbours beyond the edges; `shares` [M]: of the kernels.
    """

    low: int
    high: int
    others: tuple[int, ...]
    limits: Reals
    means: Reals
    scales: Scales
    start: float
    shares: NDArray[np.uint8]

    def pack(self) -> bytes:
        """All of it as bytes."""
        numbers = np.concatenate([self.limits, self.means.ravel(), [self.scales.base], self.scales.weights, [self.start]])
        head = struct.pack(_HEAD, self.low, self.high, len(self.means), len(self.others)) + bytes(self.others)
        return head + numbers.astype("<f2").tobytes() + self.shares.tobytes()

    @classmethod
    def unpack(cls, content: bytes, component: int) -> tuple[Parameters, bytes]:
        """The parameters at the front, and the rest. Raises `DamagedStreamError` where there are none."""
        fixed = struct.calcsize(_HEAD)
        if len(content) < fixed:
            raise DamagedStreamError
        low, high, classes, count = struct.unpack(_HEAD, content[:fixed])
        others, rest = tuple(content[fixed : fixed + count]), content[fixed + count :]
        means = 1 + _OWN_MEANS + len(_AROUND) + count * len(_OTHER)
        weights = _OWN_SPREADS + 1 + 2 * count
        size = 2 * (classes - 1 + classes * means + weights + 2)
        right = (
            low <= high and 1 <= classes <= _MOST_CLASSES and count <= _MOST_OTHERS and all(other < component for other in others)
        )
        if not right or len(rest) < size + len(KERNELS):
            raise DamagedStreamError
        numbers = np.frombuffer(rest[:size], "<f2").astype(np.float64)
        shares = np.frombuffer(rest[size : size + len(KERNELS)], np.uint8)
        if not np.isfinite(numbers).all() or not shares.any():
            raise DamagedStreamError
        limits, numbers = numbers[: classes - 1], numbers[classes - 1 :]
        table, numbers = numbers[: classes * means].reshape(classes, means), numbers[classes * means :]
        scales = Scales(float(numbers[0]), numbers[1:-1])
        found = cls(low, high, others, limits, table, scales, float(numbers[-1]), shares)
        return found, rest[size + len(KERNELS) :]


class IntegerResiduals:
    """Codes one component of a batch."""

    def __init__(self, height: int, width: int) -> None:
        self._front = Wavefront(height, width)

    def fit(self, values: Integers, guess: Integers, before: list[Component]) -> Parameters:
        """Parameters for the values [B, H, W] of a component, given their guess and the components before it."""
        front = self._front
        truth, guessed = values.astype(np.float64), guess.astype(np.float64)
        chosen = _most_related(truth - guessed, before)
        others = [before[other] for other in chosen]
        own = front.plane(guessed)
        front.inside(own)[:] = truth
        neighbours = [front.shifted(own, place) for place in EARLIER]
        columns = [*_own_features(neighbours, guessed), *self._known_features(guessed, others), np.ones_like(truth)]
        spreads = [*_steps(neighbours), *self._known_spreads(guessed, others)]
        step = max(1, truth.size // _SAMPLE)
        features, wanted = _sampled(columns, step), (truth - guessed).ravel()[::step]
        count = min(_MOST_CLASSES, 1 + truth.size // _VALUES_A_CLASS)
        expected = np.ones(truth.shape)
        for number in range(_ROUNDS):
            # The first round knows no scales: all pixels are one class, and equally important.
            sampled = expected.ravel()[::step]
            limits = as_stored(np.quantile(sampled, np.arange(1, count) / count)) if number else np.zeros(0)
            classes = np.searchsorted(limits, expected)
            means = _means_of_classes(classes.ravel()[::step], len(limits) + 1, features, wanted, 1 / sampled**2)
            errors = truth - (guessed + _added_by_class(means, classes, columns))
            start = float(as_stored(np.abs(errors).mean()))
            around = front.plane(np.abs(errors), mode="constant", constant_values=start)
            given = [*(front.shifted(around, place) for place in EARLIER), *spreads]
            scales = fit_scales(_sampled(given, step), np.abs(errors).ravel()[::step])
            expected = np.maximum(_added(np.full(truth.shape, scales.base), scales.weights, given), LEAST_SCALE)
        shares = fit_shares(errors.ravel()[::step], expected.ravel()[::step])
        return Parameters(int(values.min()), int(values.max()), chosen, limits, means, scales, start, shares)

    def code(
        self, guess: Integers, before: list[Component], parameters: Parameters, coder: SymbolCoder, values: Integers | None
    ) -> Component:
        """The component, whose values [B, H, W] one who reads does not know."""
        front, guessed = self._front, guess.astype(np.float64)
        others = [before[other] for other in parameters.others]
        table = IntegerTable(shares_of(parameters.shares), parameters.low, parameters.high)
        means, scales = parameters.means, parameters.scales
        known = self._known_features(guessed, others)
        mean = np.stack([front.plane(_added(guessed + own[-1], own[_OWN_MEANS:], known)) for own in means])
        known = self._known_spreads(guessed, others)
        scale = front.plane(_added(np.full(guessed.shape, scales.base), scales.weights[_OWN_SPREADS:], known))
        own, given = front.plane(guessed), None if values is None else front.plane(values)
        unknown, images = own.copy(), np.arange(len(own))[:, None]
        errors, signed = np.full(own.shape, parameters.start), np.zeros(own.shape)
        offsets = [front.offset(place) for place in EARLIER]
        for group in front.groups:
            neighbours = [own[:, group + offset] for offset in offsets]
            spreads = [*(errors[:, group + offset] for offset in offsets), *_steps(neighbours)]
            spread = np.maximum(_added(scale[:, group], scales.weights, spreads), LEAST_SCALE)
            classes = np.searchsorted(parameters.limits, spread)
            features = _own_features(neighbours, unknown[:, group])
            expected = mean[classes, images, group] + _added_by_class(means, classes, features)
            wanted = None if given is None else given[:, group].ravel()
            found = table.code(Expected(expected.ravel(), spread.ravel()), coder, wanted)
            own[:, group] = found.reshape(expected.shape)
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


def _own_features(neighbours: list[Reals], guess: Reals) -> list[Reals]:
    """Features of expected values that follow from the `EARLIER` neighbours: these, and the median of W, N and W + N - NW."""
    west, north, corner = neighbours[:3]
    edge = np.maximum(np.minimum(west, north), np.minimum(np.maximum(west, north), west + north - corner))
    return [each - guess for each in (*neighbours, edge)]


def _steps(neighbours: list[Reals]) -> list[Reals]:
    """Features of scales that follow from the `EARLIER` neighbours: how much they differ along and across rows."""
    west, north, corner, other = neighbours[:4]
    return [np.abs(west - corner) + np.abs(north - other), np.abs(north - corner)]


def _sampled(columns: list[Reals], step: int) -> Reals:
    """Every so many values of each column, as a matrix [N, F]."""
    return np.stack([column.ravel()[::step] for column in columns], axis=1)


def _means_of_classes(classes: Integers, count: int, features: Reals, wanted: Reals, precision: Reals) -> Reals:
    """Weights [K, F] for each of `count` classes; those of all values where a class has hardly any."""
    means = []
    for number in range(count):
        chosen = classes == number
        chosen = chosen if chosen.sum() > features.shape[1] else np.ones_like(chosen)
        means.append(fit_means(features[chosen], wanted[chosen], precision[chosen]))
    return np.stack(means)


def _added_by_class(means: Reals, classes: Integers, features: list[Reals]) -> Reals:
    """The features, each times its weight in the class of the pixel, added one after the other."""
    total = np.zeros(classes.shape)
    for weights, feature in zip(means.T, features, strict=False):
        total = total + weights[classes] * feature
    return total


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
