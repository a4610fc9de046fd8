"""Statistics of shapes that need no reference image: the number of connected parts, and overlap of components.

Everywhere: `shapes` is bool [N, C, H, W], the C components of N images, True where one is set.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

_TOUCHING = np.ones((3, 3), dtype=np.int64)
"""Pixels that touch at a side or at a corner belong to one part: 8-connectivity."""


def connected_parts(shapes: Tensor) -> Tensor:
    """The number of connected parts of each component of each image, int64 [N, C]; 0 where nothing is set."""
    planes = shapes.flatten(0, 1).cpu().numpy()
    counts = [ndimage.label(plane, _TOUCHING)[1] for plane in planes]
    return torch.tensor(counts, dtype=torch.int64).view(shapes.shape[:2])


def overlap_share(shapes: Tensor) -> Tensor:
    """The share of each image's pixels in which more than one component is set, float64 [N]."""
    return (shapes.sum(dim=1) > 1).flatten(1).double().mean(dim=1)


def part_shares(parts: Tensor, held: Tensor | None = None) -> Tensor:
    """Distribution of the number of parts: of parts int64 [N, C], the share of the images with 0 ... M - 1, float64 [C, M].

    `held` bool [N, C]: the components that an image has at all, the others are left out; None: all.
    """
    counts = F.one_hot(parts).double()
    if held is None:
        return counts.mean(dim=0)
    return (counts * held[:, :, None]).sum(dim=0) / held.sum(dim=0)[:, None].clamp_min(1)


def have_usual_parts(parts: Tensor, shares: Tensor, least: float, held: Tensor | None = None) -> Tensor:
    """Whether every component of an image has a usual number of parts, bool [N], of parts int64 [N, C].

    Usual is a number that, by the `shares` [C, M] of `part_shares`, at least the share `least` of other images have. `held`: as
    there.
    """
    largest = shares.shape[1] - 1
    usual = (shares.T.gather(0, parts.clamp_max(largest)) >= least) & (parts <= largest)
    return (usual if held is None else usual | ~held).all(dim=1)
