"""Images on another grid: each axis is a weighted sum of source pixels, absent ones left out.

Intensities are interpolated linearly; where the grid becomes coarser, the triangle is as wide as a target pixel, so that nothing is
skipped. Shapes take the value of the nearest pixel. A window of the result depends only on the source pixels around it, and equals
that window of the whole result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


class Axis(NamedTuple):
    """Part of an axis that covers `source` pixels with `target` pixels: the target pixels `start` ... `start + size - 1`.

    The target covers `span` source pixels from `offset` on: all of them, unless it is cut.
    """

    source: int
    target: int
    start: int
    size: int
    offset: float = 0.0
    span: float | None = None

    @property
    def step(self) -> float:
        """Source pixels in a target pixel."""
        return (self.source if self.span is None else self.span) / self.target

    @property
    def needed(self) -> tuple[int, int]:
        """The first source pixel that has a weight in this part, and how many from there on."""
        reach = max(1.0, self.step) + 0.5
        first = max(0, int(np.floor(self._centre(self.start) - reach)))
        last = min(self.source, int(np.ceil(self._centre(self.start + self.size - 1) + reach)))
        return first, max(1, last - first)

    def weights(self, nearest: bool) -> Floats:
        """Weights [size, needed], which sum to 1 in each row."""
        first, length = self.needed
        centres = np.array([self._centre(self.start + number) for number in range(self.size)])
        if nearest:
            places = np.clip(np.floor(centres).astype(np.int64), 0, self.source - 1) - first
            return np.eye(length)[places]
        distances = np.abs(first + np.arange(length) + 0.5 - centres[:, None]) / max(1.0, self.step)
        rows = np.maximum(0.0, 1.0 - distances)
        return np.asarray(rows / rows.sum(axis=1, keepdims=True))

    def _centre(self, number: int) -> float:
        """The position of the middle of a target pixel, in source pixels."""
        return self.offset + (number + 0.5) * self.step


def resample(
    values: NDArray[Any], present: NDArray[np.bool_] | None, rows: Axis, columns: Axis, nearest: bool
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """The part of an image that two axes describe, in the same dtype; whole numbers are rounded.

    `values` [..., h, w] and `present` (bool, broadcastable to them; None: everywhere) are the source pixels that the axes need. A
    target pixel is present where at least half of its weight is.
    """
    vertical, horizontal = rows.weights(nearest), columns.weights(nearest)
    known = np.broadcast_to(np.True_ if present is None else present, values.shape)
    clean = np.where(known, values, 0).astype(np.float64)
    summed = vertical @ clean @ horizontal.T
    if present is not None:
        weight = vertical @ known.astype(np.float64) @ horizontal.T
        # A little less than one half: the weights of pixels that lie symmetrically may sum to .4999...
        shown: NDArray[np.bool_] | None = weight >= 0.5 - 1e-9
        summed = summed / np.where(weight > 0, weight, 1.0)
    else:
        shown = None
    return _as_dtype(summed, values.dtype), None if shown is None or shown.all() else shown


def averaged(image: Tensor, height: int, width: int) -> Tensor:
    """An image float [h, w] on a coarser grid: the mean over the area of each pixel."""
    return F.interpolate(image[None, None], (height, width), mode="area")[0, 0]


def everywhere(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask bool [h, w] on a coarser grid: True where it is True in the whole area of a pixel."""
    return averaged(mask.to(torch.float64), height, width) > 1 - 1e-9


def _as_dtype(values: Floats, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.rint(values).clip(limits.min, limits.max).astype(dtype)
