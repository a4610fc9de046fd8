"""GeoTIFF through rasterio (`vqkit[geo]`): where the image lies, its masks, nodata value, names and units of bands."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.core.optional_packages import optional_package
from vqkit.image_io.rasters.absence import Mask, checked_pixels
from vqkit.image_io.rasters.contract import FileTags, Georeference, Raster, RasterInfo, RasterPixels, Window
from vqkit.image_io.rasters.failures import check_dtype, reading_errors
from vqkit.image_io.rasters.samples import SampleScale, through_palette, with_opacity

_BLOCK_ROWS = 256


def cache_bytes(row_bytes: int) -> int:
    """How much GDAL may keep in memory (a twentieth of the machine's if it is left alone): two rows of its usual blocks."""
    return min(2**29, max(2**26, 2 * _BLOCK_ROWS * row_bytes))


@contextmanager
def gdal(need: str, cache: int = 2**26) -> Iterator[ModuleType]:
    """rasterio, with a limit on the bytes that it keeps in memory. Raises `DataError` if it is not installed."""
    rasterio = optional_package("rasterio", "geo", need)
    # Files beside an image are asked for by name: listing its folder for each image takes long where there are many.
    settings = {"GDAL_CACHEMAX": cache, "GDAL_TIFF_INTERNAL_MASK": True, "GDAL_DISABLE_READDIR_ON_OPEN": True}
    with warnings.catch_warnings(), rasterio.Env(**settings):
        warnings.filterwarnings("ignore", category=rasterio.errors.NotGeoreferencedWarning)
        yield rasterio


class GeotiffRaster(Raster):
    """The bands of a GeoTIFF. Absent is what its nodata value, its masks or its opacity say; all of them count."""

    def __init__(self, path: Path, nodata: float | None, kind: str) -> None:
        self._need = f"{path} is {kind}: it is read"
        with gdal(self._need) as rasterio:
            self._dataset = rasterio.open(path, driver="GTiff")
        try:
            self._prepare(path, nodata)
        except BaseException:
            self._dataset.close()
            raise

    def _prepare(self, path: Path, nodata: float | None) -> None:
        dataset = self._dataset
        structure, band = dataset.tags(ns="IMAGE_STRUCTURE"), dataset.tags(1, ns="IMAGE_STRUCTURE")
        dtypes = set(dataset.dtypes)
        stored = np.dtype(dtypes.pop() if len(dtypes) == 1 else "O")
        bits = int(band.get("NBITS", 8 * stored.itemsize))
        if stored == np.float32 and bits == 16:  # GDAL widens what is stored as float16
            stored = np.dtype(np.float16)
        check_dtype(path, stored)
        self._scale = SampleScale(stored, bits, structure.get("MINISWHITE") == "YES")
        roles = [colour.name for colour in dataset.colorinterp]
        self._opacity = roles.index("alpha") + 1 if "alpha" in roles else None
        self._bands = [number for number in range(1, dataset.count + 1) if number != self._opacity]
        self._palette = None
        if roles == ["palette"] and not self._scale.zero_is_white:
            colours = dataset.colormap(1)
            self._palette = np.array([colours.get(index, (0, 0, 0, 0)) for index in range(2**bits)], np.uint8).T
        self._mask_bands = _mask_bands(dataset.mask_flag_enums, self._bands)
        self.info = self._describe(path, nodata, roles)

    def _describe(self, path: Path, nodata: float | None, roles: list[str]) -> RasterInfo:
        dataset, scale, bands = self._dataset, self._scale, self._bands
        self._stored_nodata = dataset.nodata
        if nodata is None and self._palette is None:
            nodata = scale.shown_nodata(dataset.nodata)
        names = tuple(dataset.descriptions[band - 1] or "" for band in bands)
        units = tuple(dataset.units[band - 1] or "" for band in bands)
        colours = tuple(roles[band - 1] for band in bands)
        tags = FileTags(
            georeference=_georeference(dataset),
            layout="interleaved" if dataset.profile.get("interleave") == "pixel" and len(bands) > 1 else "planar",
            compressed=dataset.compression is not None,
            masked=bool(self._mask_bands),
            opacity=self._opacity is not None,
            zero_is_white=scale.is_inverted and scale.is_reversible,
            units=units if any(units) else (),
            scales=_unless(tuple(dataset.scales[band - 1] for band in bands), 1.0),
            offsets=_unless(tuple(dataset.offsets[band - 1] for band in bands), 0.0),
            colours=colours if self._palette is None else (),
            text={key: text for key, text in dataset.tags().items() if not key.startswith("STATISTICS_")},
            channel_tags=tuple(_without_statistics(dataset.tags(band)) for band in bands),
        )
        return RasterInfo(
            path,
            "GeoTIFF",
            len(bands) if self._palette is None else 3,
            dataset.height,
            dataset.width,
            scale.dtype if self._palette is None else np.dtype(np.uint8),
            names if all(names) and self._palette is None else (),
            unit=units[0] if len(set(units)) == 1 else "",
            nodata=nodata,
            is_colour=self._palette is not None or colours == ("red", "green", "blue"),
            tags=tags,
        )

    def _read(self, window: Window, channels: tuple[int, ...]) -> RasterPixels:
        info = self.info
        cache = cache_bytes(info.byte_count // info.height)
        with reading_errors(info.path), gdal(self._need, cache) as rasterio:
            part = rasterio.windows.Window(window.left, window.top, window.width, window.height)
            present = self._present(part, channels)
            if self._palette is not None:
                indices = self._dataset.read(1, window=part)
                colours = through_palette(indices, self._palette)
                visible = colours[3:] > 0
                if self._stored_nodata is not None:
                    visible &= indices != self._stored_nodata
                values = np.ascontiguousarray(colours[list(channels)])
                present = visible if present is None else present & visible
                return checked_pixels(values, present, info)
            bands = [self._bands[channel] for channel in channels]
            values = self._scale.shown(self._dataset.read(bands, window=part).astype(self._scale.stored, copy=False))
            if self._opacity is not None:
                opacity = self._dataset.read([self._opacity], window=part)
                values, visible = with_opacity(values, opacity, False, len(self._bands) in (1, 3))
                present = visible if present is None else present & visible
            return checked_pixels(values, present, info)

    def _present(self, part: object, channels: tuple[int, ...]) -> Mask | None:
        """What the masks of the file leave, bool [C or 1, h, w], or None if it has none."""
        if not self._mask_bands:
            return None
        bands = self._mask_bands if len(self._mask_bands) == 1 else [self._mask_bands[channel] for channel in channels]
        masks: NDArray[Any] = self._dataset.read_masks(bands, window=part)
        return masks > 0

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()


def _mask_bands(flags: list[list[Any]], bands: list[int]) -> list[int]:
    """The bands whose masks are to be read: one if a mask is for the whole file, all if each has its own, none without masks.

    What GDAL derives from nodata values and opacity is no mask of its own.
    """
    names = [{flag.name for flag in flags[band - 1]} for band in bands]
    if any("per_dataset" in each and "alpha" not in each for each in names):
        return bands[:1]
    return bands if any(not each for each in names) else []


def _georeference(dataset: Any) -> Georeference:
    points, control_crs = dataset.gcps
    transform = dataset.transform
    return Georeference(
        crs=dataset.crs.to_wkt() if dataset.crs else "",
        transform=None if transform.is_identity else tuple(transform)[:6],
        ground_control_points=tuple((point.row, point.col, point.x, point.y, point.z or 0.0) for point in points),
        control_crs=control_crs.to_wkt() if control_crs else "",
        rational=dict(dataset.tags(ns="RPC")),
    )


def _unless(values: tuple[float, ...], usual: float) -> tuple[float, ...]:
    return () if all(value == usual for value in values) else values


def _without_statistics(tags: Mapping[str, str]) -> Mapping[str, str]:
    """The texts of a band, without what was measured in its pixels: an output has others."""
    return {key: text for key, text in tags.items() if not key.startswith("STATISTICS_")}
