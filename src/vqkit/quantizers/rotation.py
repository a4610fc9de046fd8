"""The rotation trick, another gradient estimator for quantisation (Fifty et al. 2024, "Restructuring Vector Quantization with the
Rotation Trick", section 4).

A code q is its feature z, rotated to the direction of q and scaled to its norm: `q = (|q| / |z|) R z`. In the backward pass R and
the scale are constants, so that the gradients of features in one cell differ with their angle to the code. With `a = z / |z|`,
`b = q / |q|` and `r = (a + b) / |a + b|`,

    R = I - 2 r r^T + 2 b a^T
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.quantizers.l2_normalize import MIN_NORM, l2_normalize
from vqkit.quantizers.straight_through import pass_through


def rotate(features: Tensor, codes: Tensor) -> Tensor:
    """The codes float32 [B, D, h, w], exactly, with the gradient of the rotation trick to the features [B, D, h, w].

    `features` of any float type. Unlike in the paper, the gradient passes unchanged where the norm of a feature or a code is
    below `MIN_NORM`, so that it has no direction.
    """
    z = features.float()
    start, end = z.detach(), codes.detach()
    norm, code_norm = start.norm(dim=1, keepdim=True), end.norm(dim=1, keepdim=True)
    source, target = l2_normalize(start, 1), l2_normalize(end, 1)
    half_way = l2_normalize(source + target, 1)
    rotated = z - 2 * _dot(z, half_way) * half_way + 2 * _dot(z, source) * target
    scale = code_norm / norm.clamp_min(MIN_NORM)
    directed = (norm >= MIN_NORM) & (code_norm >= MIN_NORM)
    return pass_through(torch.where(directed, scale * rotated, z), codes)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner products over the D channels, [B, 1, h, w]."""
    return (left * right).sum(dim=1, keepdim=True)
