"""Interpolation of holes by the covariance of pixels: the expected value of a Gaussian field, given the pixels around a hole.

    E[hole | around] = m + K_ha (K_aa + s I)^-1 (x_a - m)

K are covariances by distance (`vqkit.layers.spatial_covariance`), s the nugget. It is the linear prediction with the least error,
known as kriging: ordinary kriging, as the constant that the pixels of an image share is taken to vary much more than it does, so
that a hole is as bright as what is around it rather than as images usually are. See Cressie 1993, "Statistics for Spatial Data",
section 3.2, and Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning", section 2.2. In photographs its squared
error is about 5 % below that of `vqkit.layers.harmonic`, which knows nothing of images; another 5 % below that where covariances
are weighed by how well they explain the surroundings of a hole (`vqkit.layers.candidate_covariances`).

Only pixels within a few rows and columns of a hole are looked at: farther ones add next to nothing.

Shapes: B images, C components, H x W pixels, n pixels around a hole, m in it; unit values.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.layers.candidate_covariances import CandidateCovariances
from vqkit.layers.spatial_covariance import RIDGE, SHARED, SpatialCovariance

_REACH = (2, 1)
"""How far from a hole pixels are looked at: the first at which there are few enough of them."""
_MOST_AROUND = 1024
"""Pixels around a hole, at most: the time grows with the third power of their number."""
DEEPEST_WEIGHED = 12
"""Pixels into a hole up to which candidates are weighed: what is around it says little about those farther away."""
_MOST_WEIGHED, _WIDEST_WEIGHED = 400, 64
"""Up to how many pixels around a hole, and rows or columns between them, candidates are weighed: it takes J times as long."""
_AT_ONCE = 2**22
"""Covariances that are in memory at once."""


def fill_by_kriging(
    images: Tensor,
    known: Tensor,
    chosen: Tensor,
    covariance: SpatialCovariance,
    mean: Tensor,
    candidates: CandidateCovariances | None = None,
) -> tuple[Tensor, Tensor]:
    """Images float32 [B, C, H, W] with the holes of `chosen` components (bool [B, C]) filled in, and which of them are.

    `known` bool [B, C, H, W]; `mean` [C]. A component with holes too large and too rugged, or of which nothing is known, is not
    filled in. What is not known has no influence. With `candidates` of the covariance these are weighed, where holes are small.
    """
    filled, done = torch.where(known, images.float(), 0), torch.zeros_like(chosen)
    table = covariance.by_offset(*images.shape[-2:]) + SHARED * covariance.variance[:, None, None]
    noise = covariance.nugget + RIDGE * covariance.variance + 1e-12
    for image in chosen.any(dim=1).nonzero()[:, 0].tolist():
        for components in _alike(known[image], chosen[image].nonzero()[:, 0].tolist()):
            hole = ~known[image, components[0]]
            around = _around(hole)
            if around is None:
                continue
            near, inside = around.nonzero(), hole.nonzero()
            weighed = candidates if candidates and _is_small(near, inside) else None
            for some in weighed.shared_by(components) if weighed else [components]:
                centred = filled[image, some][:, around].double() - mean[some, None]
                if weighed:
                    answers = weighed.expected(some, centred, near, inside)
                else:
                    answers = _expected(table[some], noise[some], centred, near, inside)
                rows = filled[image, some]
                rows[:, hole] = (answers + mean[some, None]).float()
                filled[image, some] = rows
                done[image, some] = True
    return filled, done


def _is_small(around: Tensor, hole: Tensor) -> bool:
    """Whether candidates are weighed for a hole at the places int64 [m, 2], with pixels at [n, 2] around it."""
    if len(around) > _MOST_WEIGHED or int((around.amax(dim=0) - around.amin(dim=0)).max()) >= _WIDEST_WEIGHED:
        return False
    return float(torch.cdist(hole.double(), around.double()).amin(dim=1).max()) <= DEEPEST_WEIGHED


def _alike(known: Tensor, components: list[int]) -> list[list[int]]:
    """The components of an image whose `known` (bool [C, H, W]) is the same: they are filled in together."""
    groups: list[list[int]] = []
    for component in components:
        for group in groups:
            if torch.equal(known[component], known[group[0]]):
                group.append(component)
                break
        else:
            groups.append([component])
    return groups


def _around(hole: Tensor) -> Tensor | None:
    """The pixels around a hole, both bool [H, W]; None where there are none or too many."""
    for reach in _REACH:
        near = F.max_pool2d(hole[None, None].float(), 2 * reach + 1, stride=1, padding=reach)[0, 0].bool() & ~hole
        if 0 < int(near.sum()) <= _MOST_AROUND:
            return near
    return None


def _expected(table: Tensor, noise: Tensor, centred: Tensor, around: Tensor, hole: Tensor) -> Tensor:
    """Values float64 [c, m] at the places `hole` int64 [m, 2], less their mean, from those [c, n] at the places `around`.

    `table` [c, H, W]: covariances by offset; `noise` [c].
    """
    among = _covariances(table, around, around)
    among.diagonal(dim1=1, dim2=2).add_(noise[:, None])
    weights = torch.cholesky_solve(centred[..., None], torch.linalg.cholesky(among))
    parts = torch.split(hole, max(1, _AT_ONCE // (len(table) * len(around))))
    return torch.cat([(_covariances(table, part, around) @ weights)[..., 0] for part in parts], dim=1)


def _covariances(table: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """[c, p, q] between places int64 [p, 2] and [q, 2]."""
    rows, columns = (one[:, None] - other[None]).abs().unbind(dim=2)
    return table.flatten(1)[:, rows * table.shape[2] + columns]
