"""L2 normalisation of features and codes."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

MIN_NORM = 1e-6
"""Smallest divisor: a vector with a smaller norm has no usable direction."""


def l2_normalize(vectors: Tensor, dim: int) -> Tensor:
    """Vectors along dimension `dim`, each divided by its L2 norm, or by `MIN_NORM` where the norm is smaller."""
    return F.normalize(vectors, dim=dim, eps=MIN_NORM)
