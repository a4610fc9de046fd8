"""From a path to an open raster: the one place that decides which library reads a file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from vqkit.image_io.rasters.arrays import NPY_MAGIC, ZIP_MAGIC, ArrayRaster
from vqkit.image_io.rasters.contract import Raster
from vqkit.image_io.rasters.failures import reading_errors
from vqkit.image_io.rasters.pictures import HEAD_BYTES, open_picture_raster

_TIFF_MAGICS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")


def open_raster(path: Path, nodata: float | None = None) -> Raster:
    """Open an image file, or an OME-Zarr directory, of any format in docs/formats.md. Its content counts, not its suffix.

    Only its header is read. `nodata` is the value of absent pixels, in place of the one that the file gives. Raises `DataError`
    naming the file: damaged, not an image, not readable, too large, of an unknown layout, or in need of an extra
    (`vqkit[geo]`, `vqkit[bio]`) that is not installed.
    """
    if path.is_dir():
        from vqkit.image_io.rasters.ome_zarr import ZarrRaster  # zarr is optional

        return ZarrRaster(path, nodata)
    array = path.suffix.lower() in (".npy", ".npz")
    with reading_errors(path, "array" if array else "picture"), ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        head = file.read(HEAD_BYTES)
        if array or head.startswith((NPY_MAGIC, ZIP_MAGIC)):
            return ArrayRaster(path, nodata)
        if head.startswith(_TIFF_MAGICS):
            from vqkit.image_io.rasters.tiff_opening import open_tiff_raster  # tifffile takes its time to import

            if (found := open_tiff_raster(path, nodata)) is not None:
                return found
        raster = open_picture_raster(path, file, head, nodata)
        stack.pop_all()  # the raster closes the file
        return raster
