"""Mask pictures: which pixels are to be filled in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.errors import DataError
from vqkit.image_io.formats import TIFF_SUFFIXES, has_suffix
from vqkit.image_io.forms import match_channels, split_strip
from vqkit.image_io.rasters import open_raster
from vqkit.image_io.scales import find_extremes
from vqkit.interfaces import DataSpec


@dataclass(frozen=True)
class Mask:
    """A mask picture: `white` bool [K, h, w], True where an image is to be filled in. K is 1, for all components, or C."""

    path: Path
    white: NDArray[np.bool_]

    def kept(self, height: int, width: int, spec: DataSpec) -> Tensor:
        """Where an image of this size is kept, bool [1 or C, height, width].

        The mask may also hold one for each component, side by side. Raises `DataError` for a mask of another size.
        """
        white, components = self.white, len(spec.components)
        if white.shape[1:] == (height, width):
            return torch.from_numpy(~white)
        if white.shape == (1, height, width * components):
            return torch.from_numpy(~split_strip(white[0], spec))
        also = f", or {width * components} wide with one for each component" if components > 1 else ""
        size = f"{white.shape[2]} wide and {white.shape[1]} high"
        raise DataError(
            f"The mask {self.path} is {size}; the image is {width} wide and {height} high.",
            f"Give a mask of the image's size{also}.",
        )


def read_mask(path: Path, spec: DataSpec) -> Mask:
    """Read a mask: one channel or a picture for all components, or a channel for each, matched as those of images are.

    Of two values, the larger is white, whatever they are. Of more, the upper half of the range is: of 0 to 255, 0 to 65535 or, for
    floats, 0 to 1. Pixels without data are not white. Raises `DataError` for a file that is no mask, and when nothing is white.
    """
    if not path.exists():
        raise DataError(
            f"The mask {path} does not exist.", "Give a picture of the image's size, white where it is to be filled in."
        )
    with open_raster(path) as raster:
        info = raster.info
        pixels = raster.read()
    values = pixels.values
    present = np.ones(values.shape, bool) if pixels.present is None else np.broadcast_to(pixels.present, values.shape)
    if len(values) == 3 and info.is_colour and not _shows_components(values, path, spec):
        top = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1
        values = (values / top).mean(axis=0, keepdims=True)
        present = present[:1]
    elif len(values) > 1:
        places = match_channels(len(values), info.names, spec)
        if places is None or None in places:
            raise DataError(
                f"The mask {path} has {len(values)} channels; the images have {len(spec.components)} components.",
                "Give a mask with one channel, or with one for each component.",
            )
        order = [place for place in places if place is not None]
        values, present = values[order], present[order]
    if values.dtype.kind == "f":
        present = present & ~np.isnan(values)
    white = _white(values, present, path) & present
    if not white.any():
        raise DataError(f"The mask {path} has no white pixels, so nothing is to be filled in.", "Paint what is missing white.")
    return Mask(path, white)


def _shows_components(values: NDArray[Any], path: Path, spec: DataSpec) -> bool:
    """Whether channels that are said to be colours are those of three components: in a TIFF, and unless all are equal."""
    is_grey = bool((values == values[:1]).all())
    return len(spec.components) == 3 and has_suffix(path, TIFF_SUFFIXES) and not is_grey


def _white(values: NDArray[Any], present: NDArray[np.bool_], path: Path) -> NDArray[np.bool_]:
    """Where a mask is white."""
    found = find_extremes(values, present)
    if found is None:
        return np.zeros(values.shape, bool)
    if found.low == found.high:
        return np.full(values.shape, found.low != 0)
    if found.two_values:
        return values == values[present].max()
    top = {"u1": 255.0, "u2": 65535.0}.get(values.dtype.str[1:], 1.0 if values.dtype.kind == "f" else 0.0)
    if found.low < 0 or not top / 2 < found.high <= top:
        raise DataError(
            f"The mask {path} holds more than two values, from {found.low:g} to {found.high:g}.",
            "Give one of two values: the larger one is where to fill in.",
        )
    return values >= (top + 1 if top > 1 else top) / 2
