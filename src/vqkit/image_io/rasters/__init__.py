"""Image files as they are: opened natively, read by windows, and written with what the input's format says of them.

`open_raster(path)` gives a `Raster`: its `info`, and `read(window, channels)`. `write_raster` and `RasterWriter` write. No other
module opens image files. Which library reads which format, and what is kept of each, is the table in docs/formats.md.
"""

from __future__ import annotations

from vqkit.image_io.rasters.contract import (
    FileTags,
    Georeference,
    PixelSize,
    Raster,
    RasterInfo,
    RasterPixels,
    Resolution,
    Window,
)
from vqkit.image_io.rasters.opening import open_raster
from vqkit.image_io.rasters.writing import RasterWriter, lossless_suffix, write_raster

__all__ = [
    "FileTags",
    "Georeference",
    "PixelSize",
    "Raster",
    "RasterInfo",
    "RasterPixels",
    "RasterWriter",
    "Resolution",
    "Window",
    "lossless_suffix",
    "open_raster",
    "write_raster",
]
