"""Images written as NumPy files: `.npy` by windows, `.npz` as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.image_io.rasters.absence import Mask
from vqkit.image_io.rasters.contract import RasterInfo, RasterSink, Window
from vqkit.image_io.rasters.gaps import cannot_mark, says_absent_by, with_gaps


class ArraySink(RasterSink):
    """An array [C, H, W], or as the input has it: [H, W] of one channel, [H, W, C]."""

    def __init__(self, file: Path, info: RasterInfo) -> None:
        super().__init__(file, info)
        channels, height, width = info.channels, info.height, info.width
        self._axis = -1 if info.tags.layout == "interleaved" else 0
        self._shape: tuple[int, ...] = (height, width, channels) if self._axis == -1 else (channels, height, width)
        if channels == 1 and info.tags.layout == "pages":
            self._shape = (height, width)
        self._archived: NDArray[Any] | None = np.zeros(self._shape, info.dtype) if file.suffix.lower() == ".npz" else None
        self._is_new = True

    def write(self, window: Window, values: NDArray[Any], present: Mask | None) -> None:
        """Write a window: the file is mapped for it only, so that what was written before does not stay in memory."""
        if present is not None and not present.all() and says_absent_by(self.info) == "mark":
            raise cannot_mark(self.info)
        values = with_gaps(values, present, self.info)
        array = self._archived if self._archived is not None else self._mapped()
        planes = array[None] if array.ndim == 2 else np.moveaxis(array, self._axis, 0)
        planes[:, window.rows, window.columns] = values

    def _mapped(self) -> NDArray[Any]:
        if self._is_new:
            self._is_new = False
            return np.lib.format.open_memmap(self.file, "w+", self.info.dtype, self._shape)
        return np.lib.format.open_memmap(self.file, "r+")

    def finish(self) -> None:
        """Write the archive; a `.npy` is complete."""
        if self._archived is not None:
            np.savez_compressed(self.file, image=self._archived)
        elif self._is_new:
            self._mapped()
