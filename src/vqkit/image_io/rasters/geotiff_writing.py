"""GeoTIFF written through rasterio (`vqkit[geo]`), by windows: place, nodata, masks, names and units of bands as in the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.image_io.rasters.absence import Mask, representable
from vqkit.image_io.rasters.contract import Georeference, RasterInfo, RasterSink, Window
from vqkit.image_io.rasters.gaps import one_mark, says_absent_by, with_gaps
from vqkit.image_io.rasters.geotiff import cache_bytes, gdal
from vqkit.image_io.rasters.samples import inverted

_TILE = 256
_ROWS = 1024
_PREDICTORS = {"i": 2, "u": 2, "f": 3}


class GeotiffSink(RasterSink):
    """A GeoTIFF. Absent pixels that no value stands for are marked by opacity if the input has it, else by a mask in the file."""

    def __init__(self, file: Path, info: RasterInfo) -> None:
        super().__init__(file, info)
        self._need = f"{info.path} is a GeoTIFF: it is written"
        self._cache = cache_bytes(info.byte_count // info.height)
        self._is_masked = False
        self._is_inverted = info.tags.zero_is_white and info.dtype.kind in "iu" and not info.is_colour
        with gdal(self._need, self._cache) as rasterio:
            self._dataset = rasterio.open(file, "w", **self._profile())
            self._describe(rasterio)

    def _profile(self) -> dict[str, Any]:
        info, tags = self.info, self.info.tags
        nodata = representable(info.nodata, info.dtype)
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "dtype": info.dtype.name,
            "count": info.channels + tags.opacity,
            "height": info.height,
            "width": info.width,
            "nodata": nodata if nodata is None or not self._is_inverted else int(inverted(np.array(nodata))),
            "interleave": "pixel" if tags.layout == "interleaved" else "band",
            "photometric": "RGB" if info.is_colour else "MINISWHITE" if self._is_inverted else "MINISBLACK",
            "bigtiff": "IF_SAFER",
        }
        if info.dtype == np.float16:  # GDAL widens it in memory only
            profile |= {"dtype": "float32", "nbits": 16}
        if min(info.height, info.width) >= _TILE:
            profile |= {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE}
        if tags.compressed:
            profile["compress"] = "deflate"
            if info.dtype != np.float16:
                profile["predictor"] = _PREDICTORS[info.dtype.kind]
        place = tags.georeference
        if place is not None and place.crs:
            profile["crs"] = place.crs
        return profile

    def _describe(self, rasterio: Any) -> None:
        """Write everything that is not pixels."""
        dataset, info, tags = self._dataset, self.info, self.info.tags
        if tags.georeference is not None:
            _place(dataset, tags.georeference, rasterio)
        if len(tags.colours) == info.channels:
            roles = [*tags.colours, *(["alpha"] if tags.opacity else [])]
            dataset.colorinterp = [rasterio.enums.ColorInterp[role] for role in roles]
        elif tags.opacity:
            dataset.colorinterp = [*dataset.colorinterp[:-1], rasterio.enums.ColorInterp.alpha]
        for attribute, given, usual in (
            ("descriptions", info.names, None),
            ("units", tags.units, ""),
            ("scales", tags.scales, 1.0),
            ("offsets", tags.offsets, 0.0),
        ):
            if given:
                setattr(dataset, attribute, (*given, *([usual] if tags.opacity else [])))
        dataset.update_tags(**tags.text)
        for band, texts in enumerate(tags.channel_tags, 1):
            dataset.update_tags(band, **texts)

    def write(self, window: Window, values: NDArray[Any], present: Mask | None) -> None:
        """Write a window."""
        info = self.info
        mark = one_mark(present, info) if says_absent_by(info) == "mark" else None
        samples = with_gaps(values, present, info)
        if self._is_inverted:
            samples = inverted(samples)
        if info.tags.opacity:
            opacity = np.full((1, window.height, window.width), _opaque(info.dtype), info.dtype)
            if mark is not None:
                opacity[0][~mark] = 0
            samples = np.concatenate([samples, opacity])
        with gdal(self._need, self._cache) as rasterio:
            part = rasterio.windows.Window(window.left, window.top, window.width, window.height)
            self._dataset.write(samples.astype(self._dataset.dtypes[0], copy=False), window=part)
            if info.tags.masked or (mark is not None and not info.tags.opacity):
                self._mask(rasterio, part, window, present)

    def _mask(self, rasterio: Any, part: Any, window: Window, present: Mask | None) -> None:
        """Write the mask of a window; what was written before the mask was begun is present."""
        info = self.info
        if not self._is_masked:
            self._is_masked = True
            for top in range(0, info.height, _ROWS):
                rows = min(_ROWS, info.height - top)
                everything = np.ones((rows, info.width), np.bool_)
                self._dataset.write_mask(everything, window=rasterio.windows.Window(0, top, info.width, rows))
        mark = np.ones((window.height, window.width), np.bool_) if present is None else present.any(axis=0)
        self._dataset.write_mask(mark, window=part)

    def finish(self) -> None:
        """Close the file."""
        with gdal(self._need, self._cache):
            self._dataset.close()

    def abandon(self) -> None:
        """Close the file."""
        with gdal(self._need, self._cache):
            self._dataset.close()


def _place(dataset: Any, place: Georeference, rasterio: Any) -> None:
    if place.transform is not None:
        dataset.transform = rasterio.Affine(*place.transform)
    if place.ground_control_points:
        points = [rasterio.control.GroundControlPoint(row, column, x, y, z) for row, column, x, y, z in place.ground_control_points]
        dataset.gcps = (points, rasterio.crs.CRS.from_wkt(place.control_crs) if place.control_crs else None)
    if place.rational:
        dataset.update_tags(ns="RPC", **place.rational)


def _opaque(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else 1
