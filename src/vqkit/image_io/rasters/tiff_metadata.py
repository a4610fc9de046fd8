"""What OME-XML, ImageJ's description and GDAL's metadata in a TIFF say of its channels, the size of its pixels and missing data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree

import tifffile

from vqkit.image_io.rasters.contract import PixelSize, Resolution

GDAL_METADATA = 42112
GDAL_NODATA = 42113
_IMAGEJ_CALIBRATION = ("cf", *(f"c{number}" for number in range(9)), "vunit", "zeroclip")
"""The function that makes quantities of stored values, its coefficients and unit. ImageJ needs it for signed values of 16 bits."""
IMAGEJ_KEPT = ("unit", "spacing", "mode", "min", "max", "Ranges", "LUTs", "Info", *_IMAGEJ_CALIBRATION)


class ChannelMetadata(NamedTuple):
    """Names and units of channels ((): none), and the size of a pixel."""

    names: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    pixel_size: PixelSize | None = None


def channel_metadata(tif: tifffile.TiffFile, channels: int) -> ChannelMetadata:
    """What the file says of its channels; names that are not one for each channel are left out."""
    if tif.is_ome:
        found = ome_metadata(tif.ome_metadata or "")
    elif tif.is_imagej:
        found = ChannelMetadata(tuple(str(label) for label in _list((tif.imagej_metadata or {}).get("Labels"))))
    else:
        found = gdal_metadata(text_of(tif.pages.first, GDAL_METADATA), channels)
    names = found.names if len(found.names) == channels and all(found.names) else ()
    return ChannelMetadata(names, found.units if any(found.units) else (), found.pixel_size)


def ome_metadata(text: str) -> ChannelMetadata:
    """Channel names and physical size of a pixel of the first image in OME-XML; what cannot be parsed says nothing."""
    pixels = _first_pixels(text)
    if pixels is None:
        return ChannelMetadata()
    names = tuple(child.get("Name", "") for child in pixels if _local(child.tag) == "Channel")
    return ChannelMetadata(names, pixel_size=_physical_size(pixels))


def _first_pixels(text: str) -> ElementTree.Element | None:
    """The element of OME-XML that describes the pixels of the first image."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    return next((element for element in root.iter() if _local(element.tag) == "Pixels"), None)


def _physical_size(pixels: ElementTree.Element) -> PixelSize | None:
    try:
        height, width = float(pixels.get("PhysicalSizeY", "")), float(pixels.get("PhysicalSizeX", ""))
    except ValueError:
        return None
    unit = pixels.get("PhysicalSizeXUnit", "µm")
    return PixelSize(height, width, unit) if height > 0 and width > 0 else None


def gdal_metadata(text: str, channels: int) -> ChannelMetadata:
    """Descriptions and units of bands in GDAL's metadata of a TIFF."""
    names, units = [""] * channels, [""] * channels
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return ChannelMetadata()
    for item in root:
        sample = item.get("sample", "")
        if sample.isdecimal() and int(sample) < channels:
            target = {"description": names, "unittype": units}.get(item.get("role", ""))
            if target is not None:
                target[int(sample)] = (item.text or "").strip()
    return ChannelMetadata(tuple(names), tuple(units))


def gdal_metadata_text(names: tuple[str, ...], units: tuple[str, ...]) -> str:
    """The same as GDAL writes it; "" if there are none."""
    root = ElementTree.Element("GDALMetadata")
    for role, name, texts in (("description", "DESCRIPTION", names), ("unittype", "UNITTYPE", units)):
        for sample, text in enumerate(texts):
            ElementTree.SubElement(root, "Item", name=name, sample=str(sample), role=role).text = text
    return ElementTree.tostring(root, encoding="unicode") if len(root) else ""


def imagej_kept(tif: tifffile.TiffFile) -> Mapping[str, Any]:
    """What an output keeps of ImageJ's description: units, display ranges, colours, and the calibration of values."""
    found = tif.imagej_metadata or {}
    return {key: found[key] for key in IMAGEJ_KEPT if key in found}


def nodata_of(page: tifffile.TiffPage) -> float | None:
    """The nodata value that GDAL wrote into a TIFF."""
    try:
        return float(text_of(page, GDAL_NODATA))
    except ValueError:
        return None


def text_of(page: tifffile.TiffPage, code: int) -> str:
    """The text of a tag, "" if the page has none."""
    tag = page.tags.get(code)
    value = "" if tag is None else tag.value
    return value.decode("utf-8", "replace").strip("\0 ") if isinstance(value, bytes) else str(value).strip("\0 ")


def resolution_of(page: tifffile.TiffPage) -> Resolution | None:
    """Pixels per unit of length, None where the tags are missing or say one pixel per nothing, as some writers do."""
    across, down, unit = (page.tags.valueof(code) for code in (282, 283, 296))
    try:
        found = Resolution(across[0] / across[1], down[0] / down[1], 2 if unit is None else int(unit))
    except (TypeError, ZeroDivisionError, IndexError):
        return None
    return None if found.unit == 1 and found.across == found.down == 1 else found


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [] if value is None else [value]


def _local(tag: str) -> str:
    """An element's name without its namespace."""
    return tag.rpartition("}")[2]
