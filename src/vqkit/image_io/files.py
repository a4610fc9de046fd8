"""Picture files: finding them, reading their size, and decoding them to uint8, many at a time.

Problems with a file raise a `DataError` that names it, so that a collection can skip the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vqkit.core.cpus import usable_cpus
from vqkit.errors import DataError
from vqkit.image_io.arrays import read_planes
from vqkit.image_io.decoding import open_picture, quiet_pillow
from vqkit.image_io.formats import IMAGE_SUFFIXES, PICTURE_SUFFIXES, has_suffix

_THREADS = min(8, 2 * usable_cpus())

Result = TypeVar("Result")


class PictureSize(NamedTuple):
    """Size from a picture's header: 1 channel (grey), 3 (colour) or one per page; height and width in pixels."""

    channels: int
    height: int
    width: int


def picture_paths(folder: Path) -> list[Path]:
    """Every picture and .npy file below a folder, except hidden ones, in the order of their relative paths."""
    return sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())


def first_picture(folder: Path) -> Path | None:
    """Any picture below a folder, or None."""
    return next(_walk(folder), None)


def _walk(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in names if not name.startswith(".") and has_suffix(Path(name), IMAGE_SUFFIXES))


def picture_size(path: Path) -> PictureSize:
    """The size in a picture's header, without decoding it. Raises `DataError` naming a file that is no picture or a huge one."""
    if not has_suffix(path, PICTURE_SUFFIXES):
        return PictureSize(*read_planes(path).shape)
    with open_picture(path) as picture:
        pages = picture.page_count
        return PictureSize(pages if pages > 1 else 1 if picture.is_grey else 3, *picture.page_size(0))


def decode(path: Path, size: PictureSize, scale: bool = True) -> Tensor:
    """A picture as uint8 [C, H, W] of the given size.

    A picture of another size is scaled until it covers the requested one and centre-cropped; grey is converted to colour if colour
    is requested; transparent pixels become white. Raises `DataError` naming a file that is damaged, has other channels, or must
    not be scaled and has another size.
    """
    if not has_suffix(path, PICTURE_SUFFIXES):
        pages = [page[..., None] for page in read_planes(path)]
    else:
        with open_picture(path) as picture:
            picture.prefer_size(size.height, size.width)
            pages = [_on_white(picture.page(number)) for number in range(picture.page_count)]
    for page in pages:
        if page.shape[:2] != size[1:] and not scale:
            given = f"{page.shape[1]} wide and {page.shape[0]} high"
            raise DataError(f"{path} is {given}, not {size.width} and {size.height} like the others.", "Bring all to one size.")
    fitted = torch.cat([_fit(page, size) for page in pages], dim=0)
    if len(fitted) == 1 and size.channels == 3:
        fitted = fitted.expand(3, -1, -1)
    if len(fitted) == 3 and size.channels == 1 and (fitted == fitted[:1]).all():
        fitted = fitted[:1]
    if len(fitted) != size.channels:
        raise DataError(f"{path} has {len(fitted)} channels where {size.channels} are expected.", "Remove it or convert it.")
    return fitted


def read_all(paths: Sequence[Path], read: Callable[[Path], Result]) -> tuple[list[Result | None], list[DataError]]:
    """`read` each path in several threads. Gives the results in order, None where it raised `DataError`, and the errors."""
    errors: list[DataError] = []

    def attempt(path: Path) -> Result | None:
        try:
            return read(path)
        except DataError as error:
            errors.append(error)
            return None

    with quiet_pillow(), ThreadPoolExecutor(_THREADS) as pool:
        contents = list(pool.map(attempt, paths, chunksize=64))
    return contents, sorted(errors, key=str)


def _on_white(pixels: Tensor) -> Tensor:
    """A page uint8 [H, W, 1 or 3]; one with opacity, [H, W, 4], is painted on white."""
    if pixels.shape[-1] < 4:
        return pixels
    colour, opacity = pixels[..., :3].to(torch.int32), pixels[..., 3:].to(torch.int32)
    return ((colour * opacity + 255 * (255 - opacity) + 127) // 255).to(torch.uint8)


def _fit(page: Tensor, size: PictureSize) -> Tensor:
    """A page [h, w, 1 or 3] as [1 or 3, H, W], scaled until it covers that size and centre-cropped."""
    if page.shape[:2] != (size.height, size.width):
        image = Image.fromarray(page.squeeze(-1).numpy())
        scaled = ImageOps.fit(image, (size.width, size.height), method=Image.Resampling.LANCZOS)
        page = torch.from_numpy(np.array(scaled)).reshape(size.height, size.width, -1)
    return page.movedim(-1, 0)
