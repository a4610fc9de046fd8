"""From samples as a TIFF stores them to values as they are shown, and back: inversion, few bits, palette, opacity."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqkit.image_io.rasters.absence import Mask, on_white


class SampleScale(NamedTuple):
    """How the samples of a TIFF are stored: their dtype (bool for one bit), their bits, and whether zero is white.

    Whole numbers of which zero is white are inverted, which undoes itself; grey of 1, 2 or 4 bits is scaled to 0..255.
    """

    stored: np.dtype[Any]
    bits: int
    zero_is_white: bool

    @property
    def is_inverted(self) -> bool:
        """Whether values are inverted: floating point numbers never are, they have no greatest value."""
        return self.zero_is_white and self.stored.kind in "biu"

    @property
    def greatest(self) -> int:
        """The greatest value; a stored value and the shown one add up to it if they are inverted (signed values: to -1)."""
        return -1 if self.stored.kind == "i" else 2**self.bits - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of values as they are shown."""
        return np.dtype(np.uint8) if self.bits < 8 else self.stored

    @property
    def is_reversible(self) -> bool:
        """Whether values as shown can be stored again in the same way."""
        return self.bits == 8 * self.stored.itemsize

    def shown(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Stored samples as they are shown."""
        if self.bits < 8:
            samples = samples.astype(np.uint8)
        if self.is_inverted:
            samples = (self.greatest - samples.astype(np.int64)).astype(samples.dtype)
        return samples * np.uint8(255 // self.greatest) if self.bits < 8 else samples

    def shown_nodata(self, nodata: float | None) -> float | None:
        """The nodata value of stored samples among values as they are shown."""
        if nodata is None:
            return None
        value = self.greatest - nodata if self.is_inverted else nodata
        return value * (255 // self.greatest) if self.bits < 8 else value


def inverted(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers with black and white exchanged."""
    return np.invert(values)


def through_palette(indices: NDArray[Any], colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Indices [h, w] as colours [n, h, w], from a palette uint8 [n, size]. Raises `IndexError` for an index outside of it."""
    return colours[:, indices.astype(np.intp)]


def with_opacity(values: NDArray[Any], opacity: NDArray[Any], premultiplied: bool, is_picture: bool) -> tuple[NDArray[Any], Mask]:
    """Values [C, h, w] with opacity [1, h, w] and which pixels are not fully transparent.

    Those of a picture (grey or colour of 8 bits) are painted on white, others are as they are.
    """
    if is_picture and values.dtype == np.uint8 == opacity.dtype:
        values = on_white(values, opacity, premultiplied)
    return values, opacity > 0
