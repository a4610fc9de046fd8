"""Which library reads a TIFF: tifffile, rasterio where it is georeferenced or masked, or Pillow for CMYK and the like."""

from __future__ import annotations

import struct
from pathlib import Path

import tifffile

from vqkit.errors import DataError
from vqkit.image_io.rasters.contract import Raster
from vqkit.image_io.rasters.tiff import REDUCED_OR_MASK, TiffRaster

_GEOREFERENCE = (33550, 33922, 34264, 34735, 50844)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, RPCCoefficient."""
_JPEG, _OLD_JPEG = 7, 6
_SEPARATED, _YCBCR, _LAB = 5, 6, (8, 9, 10)


def open_tiff_raster(path: Path, nodata: float | None) -> Raster | None:
    """A TIFF as a raster, or None for one that Pillow reads: CMYK, YCbCr and Lab of 8 bits, which become red, green and blue.

    A GeoTIFF, and a TIFF with a mask (in the file or beside it), a world file or GDAL's `.aux.xml` beside it, is read by rasterio:
    what is absent and where it lies would be lost otherwise. Raises `DataError` naming the extra if it is not installed.
    """
    tif = tifffile.TiffFile(path)
    try:
        _check_chain(tif)
        reason = _needs_rasterio(tif, path)
        if reason:
            from vqkit.image_io.rasters.geotiff import GeotiffRaster  # rasterio is optional

            images = sum(len(series.pages) for series in tif.series if not int(series.keyframe.subfiletype) & REDUCED_OR_MASK)
            if images > 1:
                message = f"{path} is a GeoTIFF of {images} pages, of which rasterio reads the first only."
                raise DataError(message, "Store them as bands of one image, for example with gdalbuildvrt -separate.")
            tif.close()
            return GeotiffRaster(path, nodata, reason)
        if _is_for_pillow(tif):
            tif.close()
            return None
        return TiffRaster(path, tif, nodata)
    except BaseException:
        tif.close()
        raise


def _check_chain(tif: tifffile.TiffFile) -> None:
    """Follow the pages to the last one, as a file that is cut has fewer than it had: tifffile gives those that it finds.

    Raises `ValueError` where a page would lie outside of the file.
    """
    if tif.is_ndpi or tif.is_lsm or tif.is_stk:  # which have offsets of their own beyond 4 GB
        return
    file, order = tif.filehandle, tif.byteorder
    start, count_format, tag_size, offset_format = (8, "Q", 20, "Q") if tif.is_bigtiff else (4, "H", 12, "I")
    count_size, offset_size = struct.calcsize(f"{order}{count_format}"), struct.calcsize(f"{order}{offset_format}")
    position, seen = start, set[int]()
    while True:
        file.seek(position)
        (page,) = struct.unpack(f"{order}{offset_format}", file.read(offset_size))
        if page == 0 or page in seen:
            return
        seen.add(page)
        file.seek(page)
        (tags,) = struct.unpack(f"{order}{count_format}", file.read(count_size))
        position = page + count_size + tags * tag_size
        if position + offset_size > file.size:
            raise ValueError("the file ends within a page")


def _needs_rasterio(tif: tifffile.TiffFile, path: Path) -> str:
    """What of a TIFF only rasterio reads, in words, or ""."""
    tags = tif.pages.first.tags
    if any(code in tags for code in _GEOREFERENCE):
        return "a GeoTIFF"
    if path.with_name(path.name + ".msk").exists() or any(int(series.keyframe.subfiletype) & 4 for series in tif.series):
        return "a TIFF with a mask"
    if path.with_suffix(".tfw").exists():
        return "a TIFF with a world file (.tfw)"
    side = path.with_name(path.name + ".aux.xml")
    if side.exists():
        text = side.read_text(encoding="utf-8", errors="replace")
        if any(word in text for word in ("<SRS", "<GeoTransform", "<NoDataValue", "<GCPList")):
            return "a TIFF with georeference or missing data in .aux.xml"
    return ""


def _is_for_pillow(tif: tifffile.TiffFile) -> bool:
    page = tif.pages.first
    if len(tif.pages) > 1 or page.dtype != "uint8":
        return False
    kind, compression = int(page.photometric), int(page.compression)
    return kind == _SEPARATED or kind in _LAB or compression == _OLD_JPEG or (kind == _YCBCR and compression != _JPEG)
