"""What the headers of image files say, and, where all of them fit into memory, their pixels: so each file is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vqkit.errors import DataError
from vqkit.image_io.files import read_all
from vqkit.image_io.rasters import RasterInfo, RasterPixels, open_raster

_PEEKED = 16
"""Files that are looked at before all are, to find out whether all of them fit into memory."""


class Form(NamedTuple):
    """Channels, height, width and dtype of an image file."""

    channels: int
    height: int
    width: int
    dtype: str

    @property
    def byte_count(self) -> int:
        """Memory of the pixels."""
        return self.channels * self.height * self.width * np.dtype(self.dtype).itemsize


class FileHeader(NamedTuple):
    """The header of a file: its form; names and units of its channels and the nodata value, where it gives them."""

    path: Path
    form: Form
    names: tuple[str, ...]
    units: tuple[str, ...]
    nodata: float | None
    is_colour: bool
    may_have_gaps: bool


class ReadFiles(NamedTuple):
    """Headers by path, of all files that can be read; pixels of those that were kept; and what is wrong with the others."""

    headers: dict[Path, FileHeader]
    pixels: dict[Path, RasterPixels]
    errors: list[DataError]


def read_files(paths: Sequence[Path], kept: Sequence[Path], nodata: float | None, budget: int) -> ReadFiles:
    """Read the headers of all files, and with them the pixels of `kept` if they all have one size and fit into `budget` bytes.

    `nodata` is the stored value of absent pixels, in place of the one that files give.
    """
    forms = _common_forms(kept, nodata, budget)
    wanted = frozenset(kept if forms else ())

    def read(path: Path) -> tuple[FileHeader, RasterPixels | None]:
        with open_raster(path, nodata) as raster:
            header = _header(raster.info)
            return header, raster.read() if path in wanted and header.form in forms else None

    results, errors = read_all(paths, read)
    found = {path: result for path, result in zip(paths, results, strict=True) if result is not None}
    pixels = {path: held for path, (_, held) in found.items() if held is not None}
    return ReadFiles({path: header for path, (header, _) in found.items()}, pixels, errors)


def _common_forms(paths: Sequence[Path], nodata: float | None, budget: int) -> frozenset[Form]:
    """The forms of a few of the files; none if they differ in size, or if all files would take too much memory."""

    def form(path: Path) -> Form:
        with open_raster(path, nodata) as raster:
            return _header(raster.info).form

    chosen = {paths[len(paths) * number // _PEEKED] for number in range(_PEEKED)} if paths else set()
    forms = frozenset(each for each in read_all(sorted(chosen), form)[0] if each is not None)
    if len({(each.height, each.width) for each in forms}) != 1:
        return frozenset()
    return forms if max(each.byte_count for each in forms) * len(paths) <= budget else frozenset()


def _header(info: RasterInfo) -> FileHeader:
    units = info.tags.units if len(info.tags.units) == info.channels else (info.unit,) * info.channels if info.unit else ()
    gaps = info.nodata is not None or info.dtype.kind == "f" or info.tags.masked or info.tags.opacity
    form = Form(info.channels, info.height, info.width, info.dtype.name)
    return FileHeader(info.path, form, info.names, units, info.nodata, info.is_colour, gaps)
