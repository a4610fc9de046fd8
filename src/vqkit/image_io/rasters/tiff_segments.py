"""Windows of the pages of a TIFF: only the strips or tiles that a window touches are read and decoded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from vqkit.errors import DataError
from vqkit.image_io.rasters.contract import MAX_READ_BYTES, Window
from vqkit.image_io.rasters.mapping import StoredPlanes

_READ_BYTES = 2**20
"""A page of at most this size is read as a whole, which takes less time than to map it."""

Page = tifffile.TiffPage | tifffile.TiffFrame


class Grid(NamedTuple):
    """The strips or tiles of one plane of a page: their size in pixels, and how many there are down and across."""

    length: int
    width: int
    down: int
    across: int

    @classmethod
    def of(cls, keyframe: tifffile.TiffPage) -> Grid:
        """The grid of a page; strips are tiles as wide as the image."""
        height, width = keyframe.imagelength, keyframe.imagewidth
        if keyframe.is_tiled:
            length, across = keyframe.tilelength, keyframe.tilewidth
        else:
            length, across = min(keyframe.rowsperstrip or height, height), width
        if length < 1 or across < 1:
            raise ValueError("empty strips")
        return cls(length, across, -(-height // length), -(-width // across))

    def touched(self, window: Window) -> Iterator[tuple[int, int]]:
        """Row and column, in the grid, of what a window touches."""
        rows = range(window.top // self.length, (window.top + window.height - 1) // self.length + 1)
        columns = range(window.left // self.width, (window.left + window.width - 1) // self.width + 1)
        return itertools.product(rows, columns)


class PageReader:
    """The pages of a series, [page, sample, row, column], as they are stored. Every page is like `keyframe`."""

    def __init__(self, path: Path, series: tifffile.TiffPageSeries, page_count: int) -> None:
        self._path, self._keyframe = path, series.keyframe
        self._pages: list[Page] = [page for page in series.pages if page is not None]
        self._file = series.keyframe.parent.filehandle
        self._offset = series.dataoffset
        self.samples = int(self._keyframe.samplesperpixel)
        if len(self._pages) != page_count and self._offset is None:
            raise ValueError("pages are missing")
        self._is_planar = self._keyframe.planarconfig == tifffile.PLANARCONFIG.SEPARATE and self.samples > 1
        if self._offset is None and not self._keyframe.is_final:
            self._grid = Grid.of(self._keyframe)
            if self._grid.length * self._grid.width * self.samples * self.dtype.itemsize > MAX_READ_BYTES:
                raise DataError(f"{path} is compressed in pieces of more than 2 GiB.", "Store it in tiles or smaller strips.")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of decoded samples, in native byte order; bool for one bit."""
        return np.dtype(self._keyframe.dtype).newbyteorder("=")

    def read(self, number: int, samples: list[int], window: Window, background: float) -> NDArray[Any]:
        """Some samples of a page, [len(samples), h, w]; strips that the file leaves out hold the `background` value."""
        if self._offset is not None or self._keyframe.is_final:
            return self._map(number, samples, window)
        page, grid = self._pages[number], self._grid
        planes = self.samples if self._is_planar else 1
        if len(page.dataoffsets) != planes * grid.down * grid.across:
            raise ValueError("strips are missing")
        result = np.full((len(samples), window.height, window.width), background, self.dtype)
        for row, column in grid.touched(window):
            if not self._is_planar:
                segment = self._decode(page, row * grid.across + column)
                if segment is not None:
                    _paste(segment[..., samples], result, grid, (row, column), window)
                continue
            for position, sample in enumerate(samples):
                segment = self._decode(page, (sample * grid.down + row) * grid.across + column)
                if segment is not None:
                    _paste(segment, result[position : position + 1], grid, (row, column), window)
        return result

    def _map(self, number: int, samples: list[int], window: Window) -> NDArray[Any]:
        """The same for a page that is stored as one piece without compression: read, or mapped into memory for this window only."""
        keyframe = self._keyframe
        size = keyframe.imagelength * keyframe.imagewidth * self.samples * self.dtype.itemsize
        offset = self._offset + number * size if self._offset is not None else self._pages[number].dataoffsets[0]
        height, width = keyframe.imagelength, keyframe.imagewidth
        planes, together = (self.samples, 1) if self._is_planar else (1, self.samples)
        dtype = self.dtype.newbyteorder(keyframe.parent.byteorder)
        if size > _READ_BYTES:
            return StoredPlanes(self._path, int(offset), dtype, planes, height, width, together).read(samples, window)
        self._file.seek(offset)
        stored = np.frombuffer(self._file.read(size), dtype).reshape(planes, height, width, together)
        result = np.empty((len(samples), window.height, window.width), self.dtype)
        for position, sample in enumerate(samples):
            result[position] = stored[sample // together, window.rows, window.columns, sample % together]
        return result

    def _decode(self, page: Page, index: int) -> NDArray[Any] | None:
        """A strip or tile [length, width, samples], or None if the file leaves it out."""
        count = page.databytecounts[index]
        if count == 0:
            return None
        self._file.seek(page.dataoffsets[index])
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError("the file ends within a strip")
        tables = {"jpegtables": page.jpegtables, "jpegheader": self._keyframe.jpegheader}
        segment = self._keyframe.decode(data, index, **tables)[0]
        return None if segment is None else segment[0]


def _paste(segment: NDArray[Any], result: NDArray[Any], grid: Grid, place: tuple[int, int], window: Window) -> None:
    """Copy the part of a strip or tile [length, width, samples] that lies in the window into the result [samples, h, w]."""
    top, left = place[0] * grid.length, place[1] * grid.width
    rows = slice(max(top, window.top), min(top + segment.shape[0], window.top + window.height))
    columns = slice(max(left, window.left), min(left + segment.shape[1], window.left + window.width))
    part = segment[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    target = result[:, rows.start - window.top : rows.stop - window.top, columns.start - window.left : columns.stop - window.left]
    target[...] = np.moveaxis(part, -1, 0)
