"""From a path to an open raster: the one place that decides which library reads a file."""

from __future__ import annotations

from pathlib import Path

from vqkit.image_io.rasters.contract import Raster


def open_raster(path: Path, nodata: float | None = None) -> Raster:
    """Open an image file, or an OME-Zarr directory, of any format in the table of `vqkit.image_io.formats`.

    Only its header is read. `nodata` is the value of absent pixels, in place of the one that the file gives. Raises `DataError`
    naming the file: damaged, not an image, not readable, too large, of an unknown layout, or in need of an extra
    (`vqkit[geo]`, `vqkit[bio]`) that is not installed.
    """
    raise NotImplementedError
