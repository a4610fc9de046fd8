"""How alike two pixels of an image are by their distance: a covariance that is measured on training images.

For each component, with r the distance in pixels:

    cov(r) = nugget [r = 0] + sum over scales l of a_l exp(-r / l) + constant,      nugget, a_l, constant >= 0

A sum of exponentials with weights that are not negative is a covariance whatever the weights (Cressie 1993, "Statistics for Spatial
Data", section 2.5), which sample covariances need not be. The nugget is what a pixel shares with no other one, noise; the constant
is what all pixels of an image share.

Shapes: B images, C components, H x W pixels, L scales; unit values.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SCALES = tuple(0.7 * 2**step for step in range(8))
"""Lengths of the exponentials, in pixels: from neighbours to whole images."""
SHARED = 10.0
"""Added to the constant in predictions, in variances: a hole is as bright as what is around it, not as images usually are."""
RIDGE = 1e-4
"""Added to the nugget in predictions, as a share of the variance."""
_DISTANCES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
"""Rows, columns or both between the pixels of the pairs that are measured."""
_WEIGHT_OF_VARIANCE = 30.0
"""Weight of the variance in the fit; that of a pair is 1 / r, as near pairs matter most."""


class SpatialCovariance(NamedTuple):
    """The covariance of each component: `amplitudes` float64 [C, L + 2] of the nugget, the scales and the constant."""

    amplitudes: Tensor

    @classmethod
    def unknown(cls, components: int) -> SpatialCovariance:
        """That of which nothing is known: no pixel says anything about another one."""
        amplitudes = torch.zeros(components, len(SCALES) + 2, dtype=torch.float64)
        amplitudes[:, 0] = 1
        return cls(amplitudes)

    @property
    def nugget(self) -> Tensor:
        """Of each component, [C]."""
        return self.amplitudes[:, 0]

    @property
    def variance(self) -> Tensor:
        """Of each component, [C]."""
        return self.amplitudes.sum(dim=1)

    def between(self, distances: Tensor) -> Tensor:
        """Covariances without the nugget, [C, ...], of pixels at distances [...] of at least 0."""
        return torch.einsum("...l,cl->c...", _exponentials(distances), self.amplitudes[:, 1:])

    def by_offset(self, height: int, width: int) -> Tensor:
        """Covariances without the nugget, [C, H, W], by how many rows and columns lie between two pixels."""
        rows, columns = (torch.arange(size, device=self.amplitudes.device) for size in (height, width))
        return self.between(torch.hypot(*torch.meshgrid(rows.double(), columns.double(), indexing="ij")))


class CovarianceMeter:
    """Sums what the covariance needs over batches. Absent pixels enter no sum.

    `components`: C; `stride`: rows and columns from one pixel to the next that is looked at (`linear_guess.patch_stride`).
    """

    def __init__(self, components: int, stride: int = 1) -> None:
        self.stride = stride
        self.shift: Tensor | None = None
        self.offsets = [(0, 0), *(pair for d in _DISTANCES for pair in ((0, d), (d, 0), (d, d), (d, -d)))]
        # Of each offset and component: pairs, values of one and of the other pixel, products.
        self.sums = torch.zeros(len(self.offsets), components, 4, dtype=torch.float64)

    def add(self, images: Tensor, present: Tensor | None = None) -> None:
        """Add images [B, C, H, W] in unit values, where they are `present` (bool, broadcastable to them; None: everywhere)."""
        there = torch.ones_like(images, dtype=torch.bool) if present is None else present.expand_as(images)
        if self.shift is None:  # near the mean, so that little is lost in the differences of large sums
            held = there.sum((0, 2, 3)).clamp_min(1)
            self.shift = (torch.where(there, images, 0).sum((0, 2, 3), dtype=torch.float64) / held).float()[:, None, None]
        values, weights = torch.where(there, images - self.shift, 0), there.float()
        for number, offset in enumerate(self.offsets):
            first, second = self._pairs(values, offset)
            here, beyond = self._pairs(weights, offset)
            if first.numel():
                rows = here * beyond, first * beyond, here * second, first * second
                self.sums[number] += torch.stack([row.sum((0, 2, 3), dtype=torch.float64) for row in rows], dim=1)

    def _pairs(self, values: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Values [B, C, h, w] of pixels of which the one `offset` rows and columns away is inside the image, and of these."""
        down, right = offset
        height, width = values.shape[-2:]
        left = max(0, -right)
        end = max(left, width - max(0, right))
        first = values[..., : max(0, height - down), left:end]
        second = values[..., down:, left + right : end + right]
        return first[..., :: self.stride, :: self.stride], second[..., :: self.stride, :: self.stride]

    def result(self) -> SpatialCovariance:
        """The covariance of everything added; that of which nothing is known where a component was never present."""
        pairs, first, second, products = self.sums.unbind(dim=2)
        measured = products / pairs.clamp_min(1) - first * second / pairs.clamp_min(1).square()
        distances = torch.tensor(self.offsets, dtype=torch.float64).norm(dim=1)
        fitted = [_fit(distances, measured[:, each], pairs[:, each] > 0) for each in range(pairs.shape[1])]
        return SpatialCovariance(torch.stack(fitted))


def _fit(distances: Tensor, measured: Tensor, there: Tensor) -> Tensor:
    """Amplitudes [L + 2] of a component from covariances at distances, [n] each, where they are `there`: least squares."""
    from scipy.optimize import nnls

    if not bool(there[0]) or measured[0] <= 0:
        return SpatialCovariance.unknown(1).amplitudes[0]
    nugget = (distances == 0).double()[:, None]
    columns = torch.cat([nugget, _exponentials(distances)], dim=1)[there]
    weights = torch.where(distances > 0, 1 / distances.clamp_min(1), _WEIGHT_OF_VARIANCE)[there]
    relative = measured[there] / measured[0]
    amplitudes, _ = nnls((columns * weights[:, None]).numpy(), (relative * weights).numpy())
    return torch.from_numpy(amplitudes) * measured[0]


def _exponentials(distances: Tensor) -> Tensor:
    """exp(-r / l) of every scale and 1, float64 [..., L + 1]."""
    scales = torch.tensor(SCALES, dtype=torch.float64, device=distances.device)
    decays = (-distances.double()[..., None] / scales).exp()
    return torch.cat([decays, torch.ones_like(decays[..., :1])], dim=-1)
