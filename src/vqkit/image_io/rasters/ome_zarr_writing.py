"""OME-Zarr written by windows: one resolution, axes c, y and x, metadata of NGFF 0.4 (Zarr 2) or, like the input, 0.5 (Zarr 3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.core.optional_packages import optional_package
from vqkit.image_io.rasters.absence import Mask
from vqkit.image_io.rasters.contract import RasterInfo, RasterSink, Window
from vqkit.image_io.rasters.gaps import cannot_mark, says_absent_by, with_gaps
from vqkit.image_io.rasters.ome_zarr import UNITS

_CHUNK = 512
_COLOURS = ("FF0000", "00FF00", "0000FF", "FF00FF", "FFFF00", "00FFFF")


class ZarrSink(RasterSink):
    """A directory of OME-Zarr. Floating point numbers say absent by NaN, whole numbers cannot without a nodata value."""

    def __init__(self, file: Path, info: RasterInfo) -> None:
        super().__init__(file, info)
        zarr = optional_package("zarr", "bio", f"{info.path} is a directory of OME-Zarr: it is written")
        chunks = (1, min(_CHUNK, info.height), min(_CHUNK, info.width))
        shape = (info.channels, info.height, info.width)
        array = file / "0"
        array.mkdir()
        if info.tags.version == "0.5":
            _write_json(
                file / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": {"ome": _attributes(info, "0.5")}}
            )
            _write_json(array / "zarr.json", _third_array(shape, chunks, info.dtype))
        else:
            _write_json(file / ".zgroup", {"zarr_format": 2})
            _write_json(file / ".zattrs", _attributes(info, "0.4"))
            _write_json(array / ".zarray", _second_array(shape, chunks, info.dtype))
        self._array = zarr.open_group(str(file), mode="r+")["0"]

    def write(self, window: Window, values: NDArray[Any], present: Mask | None) -> None:
        """Write a window: whole chunks are cheapest, others are read and written again."""
        if present is not None and not present.all() and says_absent_by(self.info) == "mark":
            raise cannot_mark(self.info)
        self._array[:, window.rows, window.columns] = with_gaps(values, present, self.info)

    def finish(self) -> None:
        """Nothing is left to do: each chunk is a file of its own."""


def _attributes(info: RasterInfo, version: str) -> dict[str, Any]:
    """The attributes of the group, as NGFF has them."""
    size = info.tags.pixel_size
    names = {short: long for long, short in UNITS.items()}
    unit = {} if size is None or (size.unit not in names and size.unit not in UNITS) else {"unit": names.get(size.unit, size.unit)}
    scale = [1.0, 1.0, 1.0] if size is None else [1.0, size.height, size.width]
    scales: dict[str, Any] = {
        "name": info.path.name.partition(".")[0],
        "axes": [{"name": "c", "type": "channel"}, *({"name": axis, "type": "space", **unit} for axis in "yx")],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": scale}]}],
    }
    attributes: dict[str, Any] = {"multiscales": [scales], "omero": {"channels": _channels(info)}}
    if version == "0.5":
        return {"version": version, **attributes}
    scales["version"] = version
    attributes["omero"]["version"] = version
    return attributes


def _channels(info: RasterInfo) -> list[dict[str, Any]]:
    """Label, colour and displayed range of each channel: the input's, or colours in turn and all that whole numbers can be."""
    limits = np.iinfo(info.dtype) if info.dtype.kind in "iu" else None
    low, high = (0, 1) if limits is None else (int(limits.min), int(limits.max))
    channels = []
    for number in range(info.channels):
        colour = "FFFFFF" if info.channels == 1 else _COLOURS[number % len(_COLOURS)]
        channel: dict[str, Any] = {"active": True, "color": colour, "window": {"start": low, "end": high, "min": low, "max": high}}
        if len(info.tags.channel_tags) == info.channels and info.tags.version:
            channel |= {key: json.loads(text) for key, text in info.tags.channel_tags[number].items()}
        channel["label"] = info.names[number] if info.names else f"channel_{number + 1}"
        channels.append(channel)
    return channels


def _second_array(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    """The metadata of an array of Zarr 2."""
    return {
        "zarr_format": 2,
        "shape": shape,
        "chunks": chunks,
        "dtype": dtype.newbyteorder("<").str,
        "compressor": {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 1, "blocksize": 0},
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }


def _third_array(shape: tuple[int, ...], chunks: tuple[int, ...], dtype: np.dtype[Any]) -> dict[str, Any]:
    """The metadata of an array of Zarr 3."""
    order = {"configuration": {"endian": "little"}} if dtype.itemsize > 1 else {}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes", **order}, {"name": "zstd", "configuration": {"level": 5, "checksum": False}}],
        "attributes": {},
        "dimension_names": ["c", "y", "x"],
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")
