"""Arrays that lie in a file as one piece: read by windows, with no more of the file in memory than a window needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vqkit.image_io.rasters.contract import Window

_MAPPED_BYTES = 2**24
"""About as much of a file is mapped at once: mapped pages count as memory of the process until they are unmapped."""


class StoredPlanes(NamedTuple):
    """An array [planes, height, width, samples] in a file: its first byte, its dtype with the byte order of the file."""

    path: Path
    offset: int
    dtype: np.dtype[Any]
    planes: int
    height: int
    width: int
    samples: int

    def read(self, channels: Sequence[int], window: Window) -> NDArray[Any]:
        """Some channels, plane by plane and sample by sample, as [channels, h, w] in native byte order.

        Raises `ValueError` if the file is too short.
        """
        result = np.empty((len(channels), window.height, window.width), self.dtype.newbyteorder("="))
        row_bytes = self.width * self.samples * self.dtype.itemsize
        step = max(1, _MAPPED_BYTES // row_bytes)
        for plane in dict.fromkeys(channel // self.samples for channel in channels):
            for first in range(0, window.height, step):
                rows = min(step, window.height - first)
                offset = self.offset + (plane * self.height + window.top + first) * row_bytes
                mapped: NDArray[Any] = np.memmap(self.path, self.dtype, "r", offset, (rows, self.width, self.samples))
                for position, channel in enumerate(channels):
                    if channel // self.samples == plane:
                        result[position, first : first + rows] = mapped[:, window.columns, channel % self.samples]
        return result
