"""Vectors of length one."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

SHORTEST = 1e-6
"""A vector shorter than this has no direction: it is divided by this length."""


def unit(vectors: Tensor, dim: int) -> Tensor:
    """The vectors along dimension `dim`, divided by their lengths."""
    return F.normalize(vectors, dim=dim, eps=SHORTEST)
