"""The eight orientations that EXIF and TIFF know: from pixels as stored to the image as it is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.image_io.rasters.contract import Window

UPRIGHT = 1
TAG = 0x0112


def valid(orientation: object) -> int:
    """An orientation 1..8; what is none counts as upright, as in all viewers."""
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else UPRIGHT


def is_turned(orientation: int) -> bool:
    """Whether rows as stored are columns as seen."""
    return orientation >= 5


def seen(stored: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Pixels [..., H, W] as stored, as they are seen; a view."""
    if is_turned(orientation):
        stored = np.swapaxes(stored, -1, -2)
    # What is now the first row or column belongs to the end in these orientations.
    if orientation in (3, 4, 7, 8):
        stored = stored[..., ::-1, :]
    if orientation in (2, 3, 6, 7):
        stored = stored[..., ::-1]
    return stored


def stored_window(window: Window, orientation: int, height: int, width: int) -> Window:
    """The part of the stored pixels that `window` of the image, height x width as it is seen, comes from."""
    top, left, rows, columns = window
    if orientation in (3, 4, 7, 8):
        top = height - top - rows
    if orientation in (2, 3, 6, 7):
        left = width - left - columns
    return Window(left, top, columns, rows) if is_turned(orientation) else Window(top, left, rows, columns)
