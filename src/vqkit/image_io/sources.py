"""From one file to a source whose form is still to be recognised (see `vqkit.image_io.forms`).

Sizes are checked before anything is decoded, so that a huge or foreign file costs nothing.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.errors import DataError
from vqkit.image_io.arrays import Arrays, array_errors, map_array
from vqkit.image_io.decoding import open_picture, quiet_pillow
from vqkit.image_io.formats import PICTURE_SUFFIXES, has_suffix
from vqkit.image_io.forms import Reading, Source, array_source, checked_values
from vqkit.interfaces import DataSpec

MOST_BYTES = 2**31
"""Largest array that is read: 2 GiB. Larger collections belong into a data set (`--data`)."""


def read_source(path: Path, spec: DataSpec) -> Source | Reading:
    """The pixels in a file, or the images in an archive whose arrays are named for components.

    Raises `DataError` naming a file that is damaged, too large, or of a size that no form has.
    """
    if has_suffix(path, PICTURE_SUFFIXES):
        return picture_source(path, spec)
    if path.suffix.lower() == ".npy":
        mapped = map_array(path)
        _check_bytes(mapped.nbytes, path)
        with array_errors(path):
            array = np.array(mapped)
        return array_source(_to_tensor(array, path), str(path))
    return _read_archive(path, spec)


def picture_source(path: Path, spec: DataSpec) -> Source:
    """The pages of a picture that has one of the sizes that fit. Raises `DataError` when it has not, or cannot be decoded."""
    with quiet_pillow(), open_picture(path) as picture:
        _check_picture_size(picture.page_size(0), path, spec)
        count = picture.page_count
        pages = []
        for number in range(count if count == len(spec.components) else 1):
            _check_picture_size(picture.page_size(number), path, spec)
            pages.append(picture.page(number))
    return Source(str(path), tuple(pages), count)


def _check_picture_size(size: tuple[int, int], path: Path, spec: DataSpec) -> None:
    """Raise `DataError` for a height and width that no form has."""
    strip = spec.width * len(spec.components)
    if size in ((spec.height, spec.width), (spec.height, strip)):
        return
    several = len(spec.components) > 1 and not spec.is_colour
    also = f" (or {strip} wide, with the {len(spec.components)} components side by side)" if several else ""
    raise DataError(
        f"The picture {path} is {size[1]} wide and {size[0]} high; the model's images are {spec.width} and {spec.height}.",
        f"Scale or crop it to that size{also}, or train a model on larger images.",
    )


def _read_archive(path: Path, spec: DataSpec) -> Source | Reading:
    """One array, the one named `images`, or one array [H, W] or [B, H, W] a component, named for it."""
    with array_errors(path):
        with zipfile.ZipFile(path) as archive:
            _check_bytes(sum(member.file_size for member in archive.infolist()), path)
        with np.load(path, allow_pickle=False) as arrays:
            names = list(arrays.files)
            named = [name for name in spec.components if name in names]
            single = "images" if "images" in names else names[0] if len(names) == 1 and not named else None
            loaded = {name: arrays[name] for name in ([single] if single else named)}
    if single:
        return array_source(_to_tensor(loaded[single], path), str(path))
    if not named:
        raise DataError(
            f"{path} holds {len(names)} arrays: {', '.join(names)}.",
            f"Name the images 'images', or each component for itself: {', '.join(spec.components)}.",
        )
    return _stack_components(loaded, path, spec)


def _stack_components(arrays: Arrays, path: Path, spec: DataSpec) -> Reading:
    """Images from one array [H, W] or [B, H, W] for each component that is there; the others are not present."""
    parts = {name: checked_values(_to_tensor(array, path), spec, f"{path}, {name}") for name, array in arrays.items()}
    parts = {name: part[None] if part.ndim == 2 else part for name, part in parts.items()}
    shapes = {name: tuple(part.shape) for name, part in parts.items()}
    if len(set(shapes.values())) > 1 or any(shape[1:] != (spec.height, spec.width) for shape in shapes.values()):
        described = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise DataError(
            f"The arrays in {path} do not fit: {described}.", f"Each must be [{spec.height}, {spec.width}] or a batch of those."
        )
    first = next(iter(parts.values()))
    images = torch.stack([parts.get(name, torch.zeros_like(first)).to(first.dtype) for name in spec.components], dim=1)
    present = torch.tensor([name in parts for name in spec.components])[None, :, None, None].expand(images.shape)
    return Reading(images, present)


def _to_tensor(array: NDArray[Any], path: Path) -> Tensor:
    """A tensor of the array's values; numbers of a kind that torch cannot compare become wider or narrower ones."""
    if array.dtype.kind not in "buif" or math.prod(array.shape) == 0:
        raise DataError(
            f"{path} holds an array of {array.dtype} {array.shape}, which is no image.", "Images are numbers, uint8 best."
        )
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))


def _check_bytes(count: int, path: Path) -> None:
    if count > MOST_BYTES:
        raise DataError(
            f"{path} holds {count / 2**30:.1f} GiB of numbers, more than {MOST_BYTES / 2**30:.0f}.", "Split it into files."
        )
