"""The pixels of images in an order in which many are coded together, each after its neighbours to the left and above.

The pixels with the same x + 2 y are one group: the neighbours W, NW, N, NE, WW and NN of each are in earlier groups. So H x W
pixels are coded in W + 2 (H - 1) steps, with the neighbours that raster order has.

Shapes: B images, H x W pixels, m pixels of a group. Planes have a margin, in which neighbours of pixels at the edges are looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MARGIN = 2
EARLIER = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))
"""Rows and columns from a pixel to its neighbours W, N, NW, NE, WW and NN."""


class Wavefront:
    """The groups of a plane: `groups` int64 [m] each, positions in a plane with margins that is flattened."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._row = width + 2 * MARGIN
        rows, columns = np.divmod(np.arange(height * width), width)
        steps = columns + 2 * rows
        flat = (rows + MARGIN) * self._row + columns + MARGIN
        order = np.argsort(steps, kind="stable")
        ends = np.flatnonzero(np.diff(steps[order])) + 1
        self.groups: list[NDArray[np.int64]] = np.split(flat[order], ends)

    def offset(self, place: tuple[int, int]) -> int:
        """What is added to a position to get that of the pixel so many rows and columns away."""
        return place[0] * self._row + place[1]

    def plane(self, images: NDArray[Any], **padding: Any) -> NDArray[Any]:
        """Planes [B, H, W] with margins and flattened; `padding`: of `numpy.pad`, by default the pixels at the edges repeated."""
        how = padding or {"mode": "edge"}
        return np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)), **how).reshape(len(images), -1)

    def inside(self, plane: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `plane`: [B, H, W]."""
        whole = plane.reshape(len(plane), -1, self._row)
        return whole[:, MARGIN:-MARGIN, MARGIN:-MARGIN]

    def shifted(self, plane: NDArray[Any], place: tuple[int, int]) -> NDArray[Any]:
        """Of each pixel the value so many rows and columns away, [B, H, W]."""
        whole = plane.reshape(len(plane), -1, self._row)
        top, left = MARGIN + place[0], MARGIN + place[1]
        return whole[:, top : top + self.height, left : left + self.width]
