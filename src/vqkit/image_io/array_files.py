"""Arrays in files, `.npy` and `.npz`: one image or many, read and written as a whole.

Sizes are checked before anything is loaded, so that a huge or foreign file costs nothing. Nothing is ever unpickled.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.core.atomic import write_atomically
from vqkit.errors import DataError
from vqkit.image_io.array_headers import check_archive
from vqkit.image_io.arrays import array_errors, map_array
from vqkit.image_io.forms import array_source, read_form
from vqkit.image_io.given import Given, shaped_like
from vqkit.image_io.inputs import split_name
from vqkit.image_io.originals import Filled, Original, Output
from vqkit.interfaces import DataSpec

MOST_BYTES = 2**31
"""Largest array that is read: 2 GiB. Larger collections belong into a data set (`--data`)."""

Arrays = Mapping[str, NDArray[Any]]
Content = NDArray[Any] | dict[str, NDArray[Any]]


class ArrayFile:
    """A file of arrays: its images as they were given, and a result for each, from which a file like it is written."""

    def __init__(self, name: str, suffix: str, given: Given[Content]) -> None:
        self.name, self.suffix, self.given = name, suffix, given
        self.numbers = given.numbers
        self._results = torch.zeros_like(self.numbers)
        self._kept = torch.zeros(self.numbers.shape, dtype=torch.bool)
        self._missing = set(range(len(self.numbers)))

    def add(self, index: int, filled: Tensor, observed: Tensor) -> bool:
        """Take the result for an image [C, H, W]. True when all are there."""
        self._results[index], self._kept[index] = filled, observed
        self._missing.discard(index)
        return not self._missing

    def write(self, path: Path) -> None:
        """Write the results."""
        write_arrays(self.given.restore(self._results, self._kept), path)


class ArrayOriginal(Original):
    """An image of a file of arrays. Results for all images of the file go to one file of the same shape."""

    def __init__(self, file: ArrayFile, index: int) -> None:
        self._file, self._index = file, index

    def outputs(self, name: str, filled: Filled, observed: Tensor, out: Path) -> list[Output]:
        """See `Original.outputs`: nothing until the last image of the file. Under another name, a result is a file of its own."""
        file = self._file
        result = file.given.spec.from_unit(filled.unit[None])[0]
        if name == numbered(file.name, self._index, len(file.numbers)):
            path = out / f"{file.name}{file.suffix}"
            return [Output(path, partial(file.write, path))] if file.add(self._index, result, observed) else []
        path = out / f"{name}.npy"
        alone = torch.where(observed, file.numbers[self._index], result).numpy()
        return [Output(path, partial(write_arrays, alone, path))]

    def holds(self, image: Tensor) -> bool:
        """See `Original.holds`."""
        return np.array_equal(self._file.numbers[self._index].numpy(), image.numpy())


def numbered(name: str, index: int, count: int) -> str:
    """The name of an image of a file that holds `count`."""
    return name if count == 1 else f"{name}_{index:05d}"


def read_arrays_as_images(path: Path, name: str, spec: DataSpec, keep: tuple[str, ...], form: str | None) -> ArrayFile:
    """The images in a file of arrays. `keep`, `form`: see `forms.read_form`.

    Raises `DataError` naming a file that is damaged, too large, or not of any form.
    """
    if path.suffix.lower() == ".npy":
        mapped = map_array(path)
        _check_bytes(mapped.nbytes, path)
        with array_errors(path):
            array = np.array(mapped)
        return ArrayFile(name, ".npy", _one_array(array, path, spec, keep, form))
    return ArrayFile(name, ".npz", _read_archive(path, spec, keep, form))


def write_arrays(content: Content, path: Path) -> None:
    """Write an array, or several by name, atomically."""
    with write_atomically(path) as temporary:
        if isinstance(content, dict):
            # Not `np.savez_compressed`, whose names are keyword arguments: it cannot write an array named "file".
            with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, array in content.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, array, allow_pickle=False)
        else:
            np.save(temporary, content)


def _one_array(array: NDArray[Any], path: Path, spec: DataSpec, keep: tuple[str, ...], form: str | None) -> Given[Content]:
    given = native(array, path)
    source = array_source(given, str(path))._replace(component=split_name(path.stem, spec)[1])
    reading = read_form(source, spec, keep, form)
    return Given(reading, lambda result: shaped_like(given, result, reading, spec).astype(array.dtype, copy=False))


def _read_archive(path: Path, spec: DataSpec, keep: tuple[str, ...], form: str | None) -> Given[Content]:
    """One array, the one named `images`, or one array [H, W] or [B, H, W] a component, named for it."""
    with array_errors(path):
        _check_bytes(sum(header.nbytes for header in check_archive(path).values()), path)
        with np.load(path, allow_pickle=False) as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
    named = {name: loaded[name] for name in spec.components if name in loaded}
    single = "images" if "images" in loaded else next(iter(loaded)) if len(loaded) == 1 and not named else None
    if single:
        inner = _one_array(loaded[single], path, spec, keep, form)
        return inner.map(lambda array: {**loaded, single: array})
    if not named:
        raise DataError(
            f"{path} holds {len(loaded)} arrays: {', '.join(loaded)}.",
            f"Name the images 'images', or each component for itself: {', '.join(spec.components)}.",
        )
    return _stack_components(loaded, named, path, spec)


def _stack_components(loaded: Arrays, named: Arrays, path: Path, spec: DataSpec) -> Given[Content]:
    """Images from one array [H, W] or [B, H, W] for each component that is there; the others are not present."""
    parts = {name: native(array, path) for name, array in named.items()}
    shapes = {name: array.shape for name, array in parts.items()}
    first = next(iter(parts.values()))
    types = {array.dtype for array in parts.values()}
    if len(set(shapes.values())) > 1 or first.ndim not in (2, 3) or len(types) > 1:
        described = ", ".join(f"{name} {array.dtype} {shapes[name]}" for name, array in parts.items())
        raise DataError(f"The arrays in {path} do not fit: {described}.", "Give all of them one type, and [H, W] or [B, H, W].")
    batch = first.ndim == 3
    columns = [parts.get(name, np.zeros_like(first)) for name in spec.components]
    images = np.stack([array if batch else array[None] for array in columns], axis=1)
    held = np.array([name in parts for name in spec.components])[None, :, None, None]
    source = array_source(images, str(path))
    reading = read_form(source, spec, form="channels-first")
    reading = reading._replace(present=reading.present & held)

    def restore(result: NDArray[Any]) -> Content:
        filled = {name: result[:, number] if batch else result[0, number] for number, name in enumerate(spec.components)}
        return {**loaded, **{name: array.astype(loaded.get(name, first).dtype) for name, array in filled.items()}}

    return Given(reading, restore)


def native(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """The numbers of an array in the byte order of this machine. Raises `DataError` for what is no image."""
    if array.dtype.kind not in "buif" or math.prod(array.shape) == 0:
        raise DataError(
            f"{path} holds an array of {array.dtype} {array.shape}, which is no image.", "Images are arrays of numbers or booleans."
        )
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _check_bytes(count: int, path: Path) -> None:
    if count > MOST_BYTES:
        raise DataError(
            f"{path} holds {count / 2**30:.1f} GiB of numbers, more than {MOST_BYTES / 2**30:.0f}.", "Split it into files."
        )
