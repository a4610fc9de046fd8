"""Smooth interpolation of holes: the harmonic function that continues what is known around them.

Inside a hole it satisfies Laplace's equation, so it is the smoothest function with the values at the rim (the membrane; Chan and
Shen 2002, "Mathematical Models for Local Nontexture Inpaintings", with no fidelity term). Beyond the border of the image there is
nothing to continue: the slope across it is zero.

Shapes: B images, C components, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

STEPS = 16
"""Steps of the solver, from a start that is right on every coarse scale: enough for a network to begin with."""


def fill_smoothly(images: Tensor, known: Tensor, steps: int = STEPS) -> Tensor:
    """Images float32 [B, C, H, W] with the pixels that are not `known` (bool of their shape) interpolated.

    A component of which nothing is known is 0. `steps` of conjugate gradients, each component of each image by itself.
    """
    given = torch.where(known, images.float(), 0)
    missing = ~known & known.flatten(2).any(dim=2)[:, :, None, None]
    if not bool(missing.any()):
        return given
    filled = torch.where(missing, _coarse_to_fine(given, known), given)
    rows, columns = _window(missing.any(dim=1))
    image = torch.arange(len(images), device=rows.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=rows.device)[None, :, None, None]
    window = image, channel, rows[:, None, :, None], columns[:, None, None, :]
    degree = _neighbours(torch.ones_like(filled[:1])).expand_as(filled)
    filled[window] = _conjugate_gradients(filled[window], missing[window], degree[window], steps, _neighbours)
    return filled


def fill_whole(images: Tensor, known: Tensor, steps: int = STEPS) -> Tensor:
    """As `fill_smoothly`, of whole images, whatever is known: no shape depends on values, and there are few operations, so that a
    graph can hold it.
    """
    given = torch.where(known, images.float(), 0)
    missing = ~known & known.flatten(2).any(dim=2)[:, :, None, None]
    filled = torch.where(missing, _coarse_to_fine(given, known), given)
    cross = torch.tensor([[0.0, 1, 0], [1, 0, 1], [0, 1, 0]], device=given.device).expand(given.shape[1], 1, 3, 3)

    def neighbours(values: Tensor) -> Tensor:
        return F.conv2d(values, cross, padding=1, groups=given.shape[1])

    return _conjugate_gradients(filled, missing, neighbours(torch.ones_like(filled[:1])), steps, neighbours)


def _window(missing: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [B, h] and columns [B, w] of windows of one size around what is `missing` (bool [B, H, W]), with a rim of a pixel."""
    ends = []
    for along in (missing.any(dim=2), missing.any(dim=1)):
        size = along.shape[1]
        first = (along.byte().argmax(dim=1) - 1).clamp_min(0)
        last = (size - along.flip(1).byte().argmax(dim=1)).clamp_max(size - 1)
        longest = int((torch.where(along.any(dim=1), last - first, 0)).max()) + 1
        start = first.clamp_max(size - longest)
        ends.append(start[:, None] + torch.arange(longest, device=missing.device))
    return ends[0], ends[1]


def _coarse_to_fine(values: Tensor, known: Tensor) -> Tensor:
    """Means of what is known on grids of half the size each, taken where the finer one knows nothing."""
    weights = known.float()
    if min(values.shape[-2:]) <= 1:
        return values / weights.clamp_min(1e-6) * (weights > 0)
    total, count = (F.avg_pool2d(each, 2, ceil_mode=True, count_include_pad=False) for each in (values, weights))
    there = count > 0
    mean = torch.where(there, total / count.clamp_min(1e-6), 0)
    coarse = torch.where(there, mean, _coarse_to_fine(mean, there))
    size = values.shape[-2:]
    twice = [2 * each for each in coarse.shape[-2:]]  # not a factor: traced, its sizes would be unknown
    finer = F.interpolate(coarse, size=twice, mode="bilinear", align_corners=False)[..., : size[0], : size[1]]
    return torch.where(known, values, finer)


def _conjugate_gradients(
    start: Tensor, missing: Tensor, degree: Tensor, steps: int, neighbours: Callable[[Tensor], Tensor]
) -> Tensor:
    """Solve Laplace's equation where pixels are `missing`, everything else being fixed.

    `degree`: how many neighbours each pixel has in the whole image; `neighbours` sums them.
    """
    inside = missing.to(start.dtype)

    def residual_of(values: Tensor) -> Tensor:
        return (neighbours(values) - degree * values) * inside

    values = start
    residual = residual_of(values)
    direction = residual
    squares = _products(residual, residual)
    for _ in range(steps):
        image = (degree * direction - neighbours(direction)) * inside
        length = squares / _products(direction, image).clamp_min(1e-30)
        values = values + length * direction
        residual = residual - length * image
        following = _products(residual, residual)
        direction = residual + following / squares.clamp_min(1e-30) * direction
        squares = following
    return values


def _neighbours(values: Tensor) -> Tensor:
    """The sum of the four neighbours of each pixel that lie in the image."""
    total = torch.zeros_like(values)
    total[..., 1:, :] += values[..., :-1, :]
    total[..., :-1, :] += values[..., 1:, :]
    total[..., 1:] += values[..., :-1]
    total[..., :-1] += values[..., 1:]
    return total


def _products(first: Tensor, second: Tensor) -> Tensor:
    """The scalar product of each component of each image, [B, C, 1, 1]."""
    return (first * second).sum(dim=(2, 3), keepdim=True)
