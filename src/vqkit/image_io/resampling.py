"""Components of another resolution than the others of an image: brought to its grid, and back to their own."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Values = TypeVar("Values", bound=NDArray[Any])


def enlarged(values: Values, height: int, width: int) -> Values:
    """An image [..., h, w] on a grid of height x width: each pixel has the value of the one that covers its centre."""
    rows = ((np.arange(height) + 0.5) * values.shape[-2] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * values.shape[-1] / width).astype(np.int64)
    return values[..., rows[:, None], columns]  # type: ignore[return-value]


def averaged(images: Tensor, height: int, width: int) -> Tensor:
    """Images float [B, C, H, W] on a coarser grid of height x width: the mean over the area of each pixel."""
    return F.interpolate(images, (height, width), mode="area")


def everywhere(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask bool [C, H, W] on a coarser grid: True where it is True in the whole area of a pixel."""
    share = F.interpolate(mask[None].to(torch.float32), (height, width), mode="area")[0]
    return share > 1 - 1e-4
