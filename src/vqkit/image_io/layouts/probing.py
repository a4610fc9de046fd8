"""What the headers, and of a few files the pixels, say about a layout: photographs in colour are no components."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vqkit.errors import DataError
from vqkit.image_io.layouts.walking import WalkedFile
from vqkit.image_io.rasters import Raster, Window, open_raster

_FILES = 3
_LOOKED_AT = 1024
"""Pixels of each side that are compared at most."""


class Probe(NamedTuple):
    """A readable file: whether it shows one component (a single channel, or colours that are all grey), and its size."""

    is_grey: bool
    height: int
    width: int


class Prober:
    """Looks into files, into each at most once."""

    def __init__(self) -> None:
        self._probes: dict[Path, Probe | None] = {}

    def probe(self, path: Path) -> Probe | None:
        """What is in a file; None for one that cannot be read."""
        if path not in self._probes:
            self._probes[path] = _probe(path)
        return self._probes[path]

    def are_grey(self, files: Sequence[WalkedFile]) -> bool:
        """Whether the first, the middle and the last of the files that can be read show one component each."""
        chosen = {len(files) * number // (_FILES - 1) for number in range(_FILES)}
        probes = [self.probe(files[min(position, len(files) - 1)].path) for position in sorted(chosen)]
        readable = [probe for probe in probes if probe is not None]
        return bool(readable) and all(probe.is_grey for probe in readable)

    def have_one_shape(self, files: Sequence[WalkedFile]) -> bool:
        """Whether the readable files show the same extent, at whatever resolution: components of one image do."""
        probes = [probe for file in files if (probe := self.probe(file.path)) is not None]
        return all(_same_aspect(probes[0], probe) for probe in probes[1:])


def _probe(path: Path) -> Probe | None:
    try:
        with open_raster(path) as raster:
            info = raster.info
            return Probe(info.channels == 1 or (info.is_colour and _is_colourless(raster)), info.height, info.width)
    except DataError:
        return None


def _is_colourless(raster: Raster) -> bool:
    """Whether the channels are equal, in the middle of a large picture."""
    info = raster.info
    height, width = min(info.height, _LOOKED_AT), min(info.width, _LOOKED_AT)
    values = raster.read(Window((info.height - height) // 2, (info.width - width) // 2, height, width)).values
    return bool((values == values[:1]).all())


def _same_aspect(first: Probe, second: Probe) -> bool:
    """Whether two sizes have one aspect, up to the rounding of the smaller one."""
    scale = second.height / first.height
    return abs(first.width * scale - second.width) <= max(1.0, scale)
