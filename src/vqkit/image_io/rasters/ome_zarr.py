"""OME-Zarr directories (`vqkit[bio]`): the full resolution of a multiscale image, read by windows.

NGFF 0.1 to 0.5 are read; axes other than c, y and x may only have length one. Labels of channels (omero) are their names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqkit.core.optional_packages import optional_package
from vqkit.errors import DataError
from vqkit.image_io.rasters.absence import checked_pixels
from vqkit.image_io.rasters.contract import FileTags, PixelSize, Raster, RasterInfo, RasterPixels, Window
from vqkit.image_io.rasters.failures import check_dtype, reading_errors

Attributes = Mapping[str, Any]

UNITS = {"micrometer": "µm", "nanometer": "nm", "millimeter": "mm", "centimeter": "cm", "meter": "m", "angstrom": "Å"}
"""Units of NGFF as OME-XML writes them."""

_OLD_AXES = ("t", "c", "z", "y", "x")
_METADATA_FILES = (".zarray", ".zattrs", ".zgroup", "zarr.json")


class ZarrRaster(Raster):
    """The image in an OME-Zarr directory."""

    def __init__(self, path: Path, nodata: float | None) -> None:
        if not any((path / name).exists() for name in _METADATA_FILES):
            raise DataError(f"{path} is a directory, not an image.", "Give an image file or a directory of OME-Zarr.")
        zarr = optional_package("zarr", "bio", f"{path} is a directory of OME-Zarr: it is read")
        with reading_errors(path):
            folder, attributes = _image_attributes(path)
            scales = attributes["multiscales"][0]
            dataset = scales["datasets"][0]
            _refuse_pickle(folder / str(dataset["path"]), path)
            # Not as a member of the group, whose own copy of the metadata may be another one than what was looked at.
            self._array = zarr.open_array(str(folder), path=str(dataset["path"]), mode="r")
            axes = _axes(scales)
            shape = tuple(int(length) for length in self._array.shape)
            _check_axes(axes, shape, path)
            self._axes = axes
            dtype = np.dtype(self._array.dtype)
            check_dtype(path, dtype)
            length = dict(zip(axes, shape, strict=True))
            channels = length.get("c", 1)
            described = _omero_channels(attributes, channels)
            names = tuple(str(each.get("label") or "") for each in described)
            tags = FileTags(
                pixel_size=_pixel_size(scales, dataset, axes),
                channel_tags=tuple({key: json.dumps(text) for key, text in each.items() if key != "label"} for each in described),
                version=str(attributes.get("version") or scales.get("version") or "0.4"),
            )
            size = (channels, length["y"], length["x"])
            names = names if all(names) else ()
            self.info = RasterInfo(path, "OME-Zarr", *size, dtype.newbyteorder("="), names, nodata=nodata, tags=tags)

    def _read(self, window: Window, channels: tuple[int, ...]) -> RasterPixels:
        info = self.info
        first = min(channels)
        index: dict[str, slice | int] = {"y": window.rows, "x": window.columns, "c": slice(first, max(channels) + 1)}
        with reading_errors(info.path):
            part = np.asarray(self._array[tuple(index.get(axis, 0) for axis in self._axes)])
            planes = part if "c" in self._axes else part[None]
            values = planes[[channel - first for channel in channels]].astype(info.dtype, copy=False)
            return checked_pixels(values, None, info)

    def close(self) -> None:
        """Nothing stays open: each chunk is a file of its own."""


def _image_attributes(path: Path) -> tuple[Path, Attributes]:
    """The group that holds the image, and its attributes of NGFF. Raises `DataError` for a directory that is no image."""
    attributes = _attributes(path)
    if "multiscales" in attributes:
        return path, attributes
    images = [folder for folder in sorted(path.iterdir()) if folder.name.isdecimal() and "multiscales" in _attributes(folder)]
    if len(images) == 1:  # bioformats2raw writes the images of a file into groups 0, 1, ...
        return images[0], _attributes(images[0])
    if images:
        raise DataError(f"{path} holds {len(images)} images where one is expected.", "Give one of the directories in it.")
    kind = "a plate" if "plate" in attributes else "a directory without the metadata of OME-Zarr (multiscales)"
    raise DataError(f"{path} is {kind}, not an image.", "Give the directory of an image, or files of a known format.")


def _attributes(folder: Path) -> Attributes:
    """The attributes of a group, those of NGFF 0.5 without the key around them; {} for what is no group."""
    for name, key in (("zarr.json", "attributes"), (".zattrs", "")):
        file = folder / name
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
            found = found.get(key, {}) if key else found
            return found.get("ome", found)
    return {}


def _refuse_pickle(array: Path, path: Path) -> None:
    """Zarr unpickles where the metadata of an array ask for it, some already when it is opened; vqkit never does."""
    for name in (".zarray", "zarr.json"):
        file = array / name
        described = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        described.pop("attributes", None)  # words of its owner
        if "pickle" in json.dumps(described).lower():
            raise DataError(f"{path} would have to be unpickled, which vqkit never does.", "Save plain numbers.")


def _axes(scales: Attributes) -> tuple[str, ...]:
    axes = scales.get("axes", _OLD_AXES)
    return tuple(str(axis["name"] if isinstance(axis, Mapping) else axis) for axis in axes)


def _check_axes(axes: Sequence[str], shape: Sequence[int], path: Path) -> None:
    planes = [axis for axis in axes if axis in "cyx"]
    if len(axes) != len(shape) or 0 in shape or planes not in (["y", "x"], ["c", "y", "x"]):
        raise ValueError("axes do not fit the array")
    long = [f"{length} along {axis}" for axis, length in zip(axes, shape, strict=True) if axis not in "cyx" and length > 1]
    if long:
        raise DataError(
            f"{path} has planes that are not channels of one image: {', '.join(long)}.",
            "Save each plane as an image, or all planes as channels (axis c).",
        )


def _omero_channels(attributes: Attributes, channels: int) -> list[Attributes]:
    found = attributes.get("omero", {}).get("channels", [])
    return found if len(found) == channels and all(isinstance(each, Mapping) for each in found) else []


def _pixel_size(scales: Attributes, dataset: Attributes, axes: Sequence[str]) -> PixelSize | None:
    """The physical size of a pixel, from the scales of the resolution level and of the whole image."""
    size = {"y": 1.0, "x": 1.0}
    stated = [*dataset.get("coordinateTransformations", []), *scales.get("coordinateTransformations", [])]
    factors = [each["scale"] for each in stated if each.get("type") == "scale"]
    for factor in factors:
        for axis in size:
            size[axis] *= float(factor[axes.index(axis)])
    unit = next((axis.get("unit", "") for axis in scales.get("axes", []) if isinstance(axis, Mapping) and axis["name"] == "x"), "")
    if not factors or min(size.values()) <= 0 or (not unit and set(size.values()) == {1.0}):
        return None
    return PixelSize(size["y"], size["x"], UNITS.get(unit, unit))
