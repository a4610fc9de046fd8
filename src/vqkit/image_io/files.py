"""Picture files: finding them, reading their size, and decoding them to uint8, many at a time.

Whatever is wrong with a file is a `DataError` that names it, so that a collection can leave it out and go on.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vqkit.core.cpus import usable_cpus
from vqkit.errors import DataError
from vqkit.image_io.reading import PICTURE_SUFFIXES, picture_pixels
from vqkit.image_io.values import channel_axis, to_bytes

ARRAY_SUFFIXES = frozenset({".npy"})
ARRAY_ARCHIVE_SUFFIXES = frozenset({".npz", ".safetensors"})
_GREY_MODES = frozenset({"1", "L", "LA", "La", "F"})
_THREADS = min(8, 2 * usable_cpus())

Content = TypeVar("Content")


class PictureSize(NamedTuple):
    """What a picture's header says: 1 channel (grey), 3 (colour), or as many as it has pages; its height and width in pixels."""

    channels: int
    height: int
    width: int


def picture_paths(folder: Path) -> list[Path]:
    """Every picture and .npy file below a folder, hidden ones left out, in the order of their relative paths."""
    return sorted(_walk(folder), key=lambda path: path.relative_to(folder).as_posix())


def first_picture(folder: Path) -> Path | None:
    """Some picture below a folder, or None."""
    return next(_walk(folder), None)


def _walk(folder: Path) -> Iterator[Path]:
    suffixes = PICTURE_SUFFIXES | ARRAY_SUFFIXES
    for root, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in names if not name.startswith(".") and Path(name).suffix.lower() in suffixes)


def picture_size(path: Path) -> PictureSize:
    """The size in a picture's header, without decoding it. Raises `DataError` naming a file that is no picture or a huge one."""
    if path.suffix.lower() in ARRAY_SUFFIXES:
        return PictureSize(*_load_array(path).shape)
    with _opened(path) as image:
        pages = _page_count(image)
        grey = image.mode in _GREY_MODES or image.mode.startswith("I")
        return PictureSize(pages if pages > 1 else 1 if grey else 3, image.height, image.width)


def decode(path: Path, size: PictureSize, scale: bool = True) -> Tensor:
    """A picture as uint8 [C, H, W] of the given size.

    Another height or width is scaled until it covers the wanted one and cut to its centre; grey becomes colour where colour is
    wanted; what is transparent becomes white. Raises `DataError` naming a file that is damaged, has other channels, or must
    not be scaled and has another size.
    """
    if path.suffix.lower() in ARRAY_SUFFIXES:
        pages = [page[..., None] for page in _load_array(path)]
    else:
        with _opened(path) as image:
            image.draft("RGB", (size.width, size.height))  # lets large JPEGs be decoded at a fraction of their size
            pages = [_page(image, number) for number in range(_page_count(image))]
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


def read_all(paths: Sequence[Path], read: Callable[[Path], Content]) -> tuple[list[Content | None], list[DataError]]:
    """What `read` makes of each path, in order, read by several threads; None and its error where it raised `DataError`."""
    errors: list[DataError] = []

    def attempt(path: Path) -> Content | None:
        try:
            return read(path)
        except DataError as error:
            errors.append(error)
            return None

    with quiet_pillow(), ThreadPoolExecutor(_THREADS) as pool:
        contents = list(pool.map(attempt, paths, chunksize=64))
    return contents, sorted(errors, key=str)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """No remarks from Pillow about metadata and large pictures: what cannot be used is a `DataError` here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open picture of bearable size; whatever goes wrong with it inside the block is a `DataError` that names it."""
    try:
        with Image.open(path) as image:
            limit = Image.MAX_IMAGE_PIXELS or float("inf")
            if image.width * image.height > limit:
                raise Image.DecompressionBombError
            yield image
    except Image.DecompressionBombError:
        raise DataError(f"The picture {path} is huge.", f"At most {Image.MAX_IMAGE_PIXELS} pixels are read.") from None
    except PermissionError:
        raise DataError(f"The picture {path} may not be read.", "Change its permissions.") from None
    except (OSError, SyntaxError, ValueError, EOFError):  # in all of these ways Pillow reports damage
        raise DataError(f"The picture {path} cannot be read: it is damaged or not a picture.", "Replace or remove it.") from None


def _page_count(image: Image.Image) -> int:
    """Pages of a TIFF, which are channels; the frames of an animation or the previews in a JPEG are not."""
    return int(getattr(image, "n_frames", 1)) if image.format == "TIFF" else 1


def _page(image: Image.Image, number: int) -> Tensor:
    """A decoded page, uint8 [H, W, 1] or [H, W, 3], on white where it is transparent."""
    image.seek(number)
    pixels = picture_pixels(image)
    if pixels.shape[-1] < 4:
        return pixels
    colour, opacity = pixels[..., :3].to(torch.int32), pixels[..., 3:].to(torch.int32)
    return ((colour * opacity + 255 * (255 - opacity) + 127) // 255).to(torch.uint8)


def _fit(page: Tensor, size: PictureSize) -> Tensor:
    """A page [h, w, 1 or 3] as [1 or 3, H, W], scaled until it covers that size and cut to its centre."""
    if page.shape[:2] != (size.height, size.width):
        image = Image.fromarray(page.squeeze(-1).numpy())
        scaled = ImageOps.fit(image, (size.width, size.height), method=Image.Resampling.LANCZOS)
        page = torch.from_numpy(np.array(scaled)).reshape(size.height, size.width, -1)
    return page.movedim(-1, 0)


def _load_array(path: Path) -> Tensor:
    """An array file as a picture, uint8 [C, H, W]. Raises `DataError` naming one that is damaged or no picture."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        raise DataError(f"The array {path} is damaged or holds no plain array.", "Save it anew with numpy.save.") from None
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise DataError(
            f"The array {path} has the shape {array.shape}, which is no picture.", "Store [H, W], [C, H, W] or [H, W, C]."
        )
    planes = array[None] if array.ndim == 2 else np.moveaxis(array, channel_axis(array.shape, str(path)), 0)
    return torch.from_numpy(np.array(to_bytes(planes, str(path))))
