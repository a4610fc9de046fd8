"""The best linear guess of missing components from the kept ones around a pixel, in closed form for every set of kept components.

With the mean m and the covariance S of all components in a neighbourhood of pixels, measured on training images, the expected
value of what is missing in the centre, given the kept components k of the neighbourhood, is that of a Gaussian:

    E[x_missing | x_k] = m_missing + S_mk (S_kk + r I)^-1 (x_k - m_k)

So one matrix answers every question: with a neighbourhood of one pixel it is linear regression from pixel to pixel, with 5 x 5
pixels it also sees edges and interpolates between pixels. r is a small ridge, relative to the variances.

Shapes: B images, C components, H x W pixels, N = (2 radius + 1)^2 pixels of a neighbourhood; unit values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 2
"""Pixels that a neighbourhood reaches in each direction: 5 x 5 in all."""
RIDGE = 1e-5
"""Ridge, as a share of each variance: below what sensors resolve, above the rounding of the sums."""
_POSITIONS = 2**20
"""Neighbourhoods that are measured, at most: there are 25 numbers of each component to learn from each."""
_AT_ONCE = 2**24
"""Numbers of neighbourhoods in memory at once."""


class PatchStatistics(NamedTuple):
    """Mean float64 [C * N] and covariance float64 [C * N, C * N] of the pixels in a neighbourhood, component by component."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def unknown(cls, components: int, radius: int = RADIUS) -> PatchStatistics:
        """Those of which nothing is known: a mean of one half, and no relation between any two values."""
        size = components * (2 * radius + 1) ** 2
        return cls(torch.full((size,), 0.5, dtype=torch.float64), torch.eye(size, dtype=torch.float64))

    def reduced(self, components: int, radius: int) -> PatchStatistics:
        """The same for a smaller neighbourhood."""
        own = round((len(self.mean) // components) ** 0.5) // 2
        side = 2 * own + 1
        inside = torch.zeros(components, side, side, dtype=torch.bool)
        inside[:, own - radius : own + radius + 1, own - radius : own + radius + 1] = True
        chosen = inside.flatten().nonzero()[:, 0]
        return PatchStatistics(self.mean[chosen], self.covariance[chosen][:, chosen])

    def means(self, components: int) -> Tensor:
        """The mean of each component in the centre, float64 [C]."""
        return _centres(self.mean, components)

    def variances(self, components: int) -> Tensor:
        """The variance of each component in the centre, float64 [C]."""
        return _centres(self.covariance.diagonal(), components)


class PatchMeter:
    """Sums what `PatchStatistics` needs over batches. Absent pixels enter no sum: covariances are over the pairs that are there.

    `components`: C; `stride`: distance of neighbouring neighbourhoods, see `patch_stride`.
    """

    def __init__(self, components: int, radius: int = RADIUS, stride: int = 1) -> None:
        self.components, self.radius, self.stride = components, radius, stride
        size = components * (2 * radius + 1) ** 2
        self.shift: Tensor | None = None
        self.count, self.first = (torch.zeros(size, size, dtype=torch.float64) for _ in range(2))
        self.second = torch.zeros(size, size, dtype=torch.float64)

    def add(self, images: Tensor, present: Tensor | None = None) -> None:
        """Add images [B, C, H, W] in unit values, where they are `present` (bool, broadcastable to them; None: everywhere)."""
        there = None if present is None or bool(present.all()) else present.expand_as(images)
        values = images if there is None else torch.where(there, images, 0)
        if self.shift is None:  # near the mean, so that little is lost in the differences of large sums
            held = images[0].numel() // self.components * len(images) if there is None else there.sum((0, 2, 3)).clamp_min(1)
            self.shift = (values.sum((0, 2, 3), dtype=torch.float64) / held).float()[:, None, None]
        values = values - self.shift if there is None else torch.where(there, images - self.shift, 0)
        per_image = len(self.count) * values[0, 0].numel()
        for start in range(0, len(values), max(1, _AT_ONCE // per_image)):
            part = slice(start, start + max(1, _AT_ONCE // per_image))
            self._add_part(values[part], None if there is None else there[part])

    def _add_part(self, values: Tensor, there: Tensor | None) -> None:
        patches = self._patches(values)
        self.second += (patches.T @ patches).double()
        if there is None:
            self.first += patches.sum(0, dtype=torch.float64)[:, None]
            self.count += len(patches)
            return
        weights = self._patches(there.to(patches.dtype))
        self.first += (patches.T @ weights).double()
        self.count += (weights.T @ weights).double()

    def _patches(self, values: Tensor) -> Tensor:
        """Every neighbourhood inside images [B, C, H, W], as rows [P, C * N]."""
        padded = values.float()
        short = [max(0, 2 * self.radius + 1 - size) for size in values.shape[-2:]]
        if any(short):
            padded = F.pad(padded, (0, short[1], 0, short[0]), mode="replicate")
        return F.unfold(padded, 2 * self.radius + 1, stride=self.stride).transpose(1, 2).flatten(0, 1)

    def result(self) -> PatchStatistics:
        """The statistics of everything added. Where two values were never present together, they have no relation."""
        if self.shift is None:
            return PatchStatistics.unknown(self.components, self.radius)
        count = self.count.clamp_min(1)
        means = self.first / count
        covariance = self.second / count - means * means.T
        gaps = bool((self.count != self.count[0, 0]).any())
        if gaps:  # sums over different pixels need not belong to any distribution: the nearest covariance that does
            values, vectors = torch.linalg.eigh(covariance)
            covariance = (vectors * values.clamp_min(0)) @ vectors.T
        around = self.shift.double().flatten().repeat_interleave(len(means) // self.components)
        return PatchStatistics(means.diagonal() + around, covariance)


def patch_stride(images: int, height: int, width: int) -> int:
    """The distance of neighbourhoods at which this many images give no more of them than are needed."""
    stride = 1
    while images * height * width > _POSITIONS * stride**2:
        stride += 1
    return stride


def measure_patches(batches: Iterable[tuple[Tensor, Tensor | None]], components: int, stride: int = 1) -> PatchStatistics:
    """The statistics of batches of images in unit values and what is present of them; see `PatchMeter`."""
    meter = PatchMeter(components, stride=stride)
    for images, present in batches:
        meter.add(images, present)
    return meter.result()


class LinearGuess(NamedTuple):
    """How components are guessed from the kept ones: what the convolution with `weights` gives, plus `constants`.

    `weights` float32 [C, C, side, side], `constants` float32 [C]; both with a leading dimension B for a batch of images.
    """

    weights: Tensor
    constants: Tensor


def linear_guess(statistics: PatchStatistics, kept: Tensor, ridge: float = RIDGE) -> LinearGuess:
    """The guess from the components that are `kept`, bool [C]. Each of these is returned as it is; of others nothing is known.

    Every pixel of a neighbourhood has a mean of its own: near the borders of images it need not be that of the centre.
    """
    components = len(kept)
    around = len(statistics.mean) // components
    side = round(around**0.5)
    weights = torch.zeros(components, components, around, dtype=torch.float64)
    known = kept.cpu()
    weights[known, known, around // 2] = 1
    if bool(known.any()) and not bool(known.all()):
        given = known.repeat_interleave(around)
        centres = (torch.arange(components)[~known] * around) + around // 2
        inner = statistics.covariance[given][:, given]
        inner = inner + torch.diag(ridge * inner.diagonal() + 1e-9)
        solved = torch.linalg.solve(inner, statistics.covariance[given][:, centres]).T
        rows = torch.zeros(len(centres), components, around, dtype=torch.float64)
        rows[:, known] = solved.view(len(centres), int(known.sum()), around)
        weights[~known] = rows
    constants = statistics.means(components) - weights.flatten(1) @ statistics.mean
    return LinearGuess(weights.view(components, components, side, side).float(), constants.masked_fill(known, 0).float())


def guess(images: Tensor, how: LinearGuess) -> Tensor:
    """Linear guesses float32 [B, C, H, W] of images in unit values, each by its own weights and constants.

    Pixels beyond the border repeat those at it.
    """
    count, components, height, width = images.shape
    radius = how.weights.shape[-1] // 2
    padded = F.pad(images.float(), (radius,) * 4, mode="replicate") if radius else images.float()
    padded = padded.reshape(1, count * components, *padded.shape[-2:])
    answers = F.conv2d(padded, how.weights.flatten(0, 1), how.constants.flatten(), groups=count)
    return answers.view(count, components, height, width)


def _centres(values: Tensor, components: int) -> Tensor:
    """Of values of every pixel of a neighbourhood, [C * N], those in its centre, [C]."""
    around = len(values) // components
    return values.reshape(components, around)[:, around // 2]
