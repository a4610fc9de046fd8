"""The rotation trick, another gradient for a step that has none (Fifty et al. 2024, "Restructuring Vector Quantization with the
Rotation Trick", section 4).

The code q is what a feature z becomes when it is turned into q's direction and scaled to q's length: `q = (|q| / |z|) R z`. Going
back, R and the scale count as constants, so that features of one cell get gradients which differ with their angle to the code.
With `a = z / |z|`, `b = q / |q|` and `r = (a + b) / |a + b|`,

    R = I - 2 r r^T + 2 b a^T
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.quantizers.sphere import SHORTEST, unit
from vqkit.quantizers.straight_through import pass_through


def rotate(features: Tensor, codes: Tensor) -> Tensor:
    """The codes float32 [B, D, h, w], exactly, with the gradient of the rotation trick to the features [B, D, h, w].

    `features` of any float type. We depart from the paper where a feature or a code is shorter than `SHORTEST` and so has no
    direction: there the gradient passes unchanged.
    """
    given = features.float()
    start, end = given.detach(), codes.detach()
    length, end_length = start.norm(dim=1, keepdim=True), end.norm(dim=1, keepdim=True)
    source, target = unit(start, 1), unit(end, 1)
    half_way = unit(source + target, 1)
    turned = given - 2 * _dot(given, half_way) * half_way + 2 * _dot(given, source) * target
    scale = end_length / length.clamp_min(SHORTEST)
    directed = (length >= SHORTEST) & (end_length >= SHORTEST)
    return pass_through(torch.where(directed, scale * turned, given), codes)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner products over the D channels, [B, 1, h, w]."""
    return (left * right).sum(dim=1, keepdim=True)
