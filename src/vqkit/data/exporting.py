"""Exporting images of a data set as files that data sets and `vqkit inpaint` read, with every value as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.core.atomic import write_atomically
from vqkit.core.links import no_links_below
from vqkit.image_io.layouts import safe_name
from vqkit.image_io.pictures import COMPOSITE, composite, save_picture, to_pil
from vqkit.image_io.rasters import RasterInfo, write_raster
from vqkit.image_io.tables import TABLE, write_table
from vqkit.interfaces import Batch, DataSpec, Split

_BATCH = 32
_THREADS = 8
_PNG_TYPES = ("uint8", "uint16")
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\\:*?"<>|]')


class _Image(NamedTuple):
    """One image: the name of its files, stored values [C, H, W], and which are present, bool [C, H, W]."""

    name: str
    values: NDArray[Any]
    present: NDArray[np.bool_]


def export(split: Split, split_name: str, count: int, out: Path) -> list[Path]:
    """Write the first `count` images of a split (or all, if there are fewer) to `out`, and return the paths.

    Colour pictures, and images of one component, are one file each: `{name}.png`. Several components are written apart,
    `{component}/{name}_{component}.png`, with composites to look at and `performances.csv`. Files are PNG, or TIFF for types and
    gaps that PNG cannot hold; a component that is absent from an image has no file. Names are those of the images, shortened where
    file systems do not take them, and numbered where they would be the same. Every file is whole or not there. Raises `OSError`,
    and `ConfigError` where a link leads out of `out`.
    """
    indices = first_indices(split, count)
    names = file_names(split.names(indices))
    written: list[Path] = []
    conditions = []
    start = 0
    is_picture = _are_pictures(split, indices)
    with ThreadPoolExecutor(_THREADS) as pool:
        for chunk in torch.split(indices, _BATCH):
            batch = split.batch(chunk)
            write = partial(_write_image, spec=split.spec, layout=_Layout.of(batch, split.spec, is_picture), out=out)
            for paths in pool.map(write, _images(batch, names[start : start + len(chunk)])):
                written += paths
            conditions.append(batch.conditions)
            start += len(chunk)
    if split.spec.conditions:
        with write_atomically(out / TABLE) as temporary:
            write_table(temporary, names, split_name, split.spec.condition_names, torch.cat(conditions))
        written.append(out / TABLE)
    return written


def first_indices(split: Split, count: int) -> Tensor:
    """The positions of the first `count` images of a split, or of all if there are fewer: int64 [B]."""
    return torch.arange(min(count, len(split)))


def file_names(names: Sequence[str]) -> list[str]:
    """Names of images as relative paths without suffix, which stay inside a directory and are all different.

    They are the names themselves wherever these can be names of files. They also differ for file systems that ignore case.
    """
    taken: set[str] = set()
    unique = []
    for name in names:
        parts = [_visible(part) for part in name.split("/") if part]
        short = safe_name("/".join(parts) or "_")
        path, number = short, 1
        while path.casefold() in taken:
            number += 1
            path = f"{short}_{number}"
        taken.add(path.casefold())
        unique.append(path)
    return unique


def _visible(part: str) -> str:
    """A part of a name as the name of a file or folder: without characters that some file systems refuse, and not hidden."""
    part = _NOT_IN_NAMES.sub("_", part)
    return f"_{part.lstrip('.')}" if part.startswith(".") else part


class _Layout(NamedTuple):
    """How images are written: each component in a file of its own or not, and with which suffix, in the order of the components."""

    apart: bool
    suffixes: tuple[str, ...]

    @classmethod
    def of(cls, batch: Batch, spec: DataSpec, is_picture: bool) -> _Layout:
        """The layout for all images of a split, of which this is a batch: what is absent has the same shape in all of them."""
        types = [each.dtype for each in spec.component_specs]
        present = batch.present
        if is_picture:
            return cls(False, (".png",))
        has_holes = present is not None and present.shape[2:] != (1, 1)
        return cls(len(types) > 1, tuple(".png" if each in _PNG_TYPES and not has_holes else ".tif" for each in types))


def _are_pictures(split: Split, indices: Tensor) -> bool:
    """Whether the images are pictures in colour that PNG can hold: in all of them, what is absent is absent from all channels."""
    types = {each.dtype for each in split.spec.component_specs}
    if not split.spec.is_colour or len(types) > 1 or not types <= set(_PNG_TYPES):
        return False
    for chunk in torch.split(indices, _BATCH):
        present = split.batch(chunk).present
        if present is None or present.shape[1] == 1:  # and so it is in the other batches
            return True
        if not torch.equal(present, present[:, :1].expand(present.shape)):
            return False
    return True


def _images(batch: Batch, names: Sequence[str]) -> Iterator[_Image]:
    for name, values, present in zip(names, batch.images, batch.observed, strict=True):
        yield _Image(name, values.numpy(), present.numpy())


def _write_image(image: _Image, spec: DataSpec, layout: _Layout, out: Path) -> list[Path]:
    """Write one image, and return the paths of its files."""
    with no_links_below(out):
        return _write_files(image, spec, layout, out)


def _write_files(image: _Image, spec: DataSpec, layout: _Layout, out: Path) -> list[Path]:
    written: list[Path] = []
    if not layout.apart:
        path = out / f"{image.name}{layout.suffixes[0]}"
        if image.present.any():
            _write(path, image.values, image.present, spec, range(len(image.values)))
            written.append(path)
        return written
    for number, component in enumerate(spec.components):
        folder = _visible(component.replace("/", "_"))
        path = out / folder / f"{image.name}_{folder}{layout.suffixes[number]}"
        if image.present[number].any():
            _write(path, image.values[number : number + 1], image.present[number : number + 1], spec, [number])
            written.append(path)
    if not written:
        return written
    written.append(out / COMPOSITE / f"{image.name}.png")
    unit, present = spec.to_unit(torch.from_numpy(image.values)[None]), torch.from_numpy(image.present)[None]
    save_picture(to_pil(composite(unit, spec, None if image.present.all() else present)[0]), written[-1])
    return written


def _write(path: Path, values: NDArray[Any], present: NDArray[np.bool_], spec: DataSpec, components: Sequence[int]) -> None:
    """Write some components of an image as one file, in their own type."""
    specs = [spec.component_specs[number] for number in components]
    dtype = np.dtype(specs[0].dtype)
    if values.dtype != dtype:
        values = np.where(present, values, 0).astype(dtype)  # what is absent may be NaN, which whole numbers are not
    is_png = path.suffix == ".png"
    nodata = None if is_png else specs[0].nodata
    names = tuple(each.name for each in specs)
    channels, height, width = values.shape
    info = RasterInfo(
        path, "PNG" if is_png else "TIFF", channels, height, width, dtype, names, specs[0].unit, nodata, spec.is_colour
    )
    write_raster(path, values, None if present.all() else present, info)
