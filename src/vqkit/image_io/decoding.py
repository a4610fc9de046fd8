"""From picture files to pixels: the one place where pictures are opened.

A picture is opened by its header; its pages are decoded one at a time, when they are asked for. The pages of a TIFF are channels;
of the frames of an animation, or the previews in a JPEG, only the first is read.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqkit.errors import DataError

_GREY_MODES = frozenset({"1", "L", "LA", "La", "F"})


class OpenPicture:
    """A picture whose header has been read: its size, its pages and, on demand, their pixels."""

    def __init__(self, image: Image.Image) -> None:
        self._image = image

    @property
    def page_count(self) -> int:
        """Number of pages."""
        return int(getattr(self._image, "n_frames", 1)) if self._image.format == "TIFF" else 1

    @property
    def is_grey(self) -> bool:
        """Whether the current page has no colours, by its pixel format."""
        return self._image.mode in _GREY_MODES or self._image.mode.startswith("I")

    def page_size(self, number: int) -> tuple[int, int]:
        """Height and width in pixels of a page."""
        self._image.seek(number)
        return self._image.height, self._image.width

    def page(self, number: int) -> Tensor:
        """The pixels of a page, decoded: see `picture_pixels`."""
        self._image.seek(number)
        return picture_pixels(self._image)

    def prefer_size(self, height: int, width: int) -> None:
        """Let a large JPEG be decoded at a fraction of its size, no smaller than `height` x `width`."""
        self._image.draft("RGB", (width, height))


@contextmanager
def open_picture(path: Path) -> Iterator[OpenPicture]:
    """An open picture of at most `PIL.Image.MAX_IMAGE_PIXELS` pixels.

    Whatever goes wrong with it inside the block is a `DataError` that names the file.
    """
    try:
        with Image.open(path) as image:
            limit = Image.MAX_IMAGE_PIXELS or float("inf")
            if image.width * image.height > limit:
                raise Image.DecompressionBombError
            yield OpenPicture(image)
    except Image.DecompressionBombError:
        raise DataError(f"The picture {path} is huge.", f"At most {Image.MAX_IMAGE_PIXELS} pixels are read.") from None
    except PermissionError:
        raise DataError(f"The picture {path} may not be read.", "Change its permissions.") from None
    except (OSError, SyntaxError, ValueError, EOFError):  # in all of these ways Pillow reports damage
        raise DataError(f"The picture {path} cannot be read: it is damaged or not a picture.", "Replace or remove it.") from None


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """No warnings from Pillow about metadata and large pictures: what cannot be used is a `DataError` here.

    Filters of warnings belong to the process, not to a thread: enter this once, around all threads that open pictures.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def picture_pixels(image: Image.Image) -> Tensor:
    """A decoded picture as uint8 [H, W, 1] (greyscale), [H, W, 3] (colour) or [H, W, 4] (with opacity); 16 bits are cut to 8."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "F":
            values = values * 255 if values.size and values.max() <= 1 else values
        elif values.max() > 255 or image.mode != "I":
            values = values / 257
        return torch.from_numpy(np.clip(np.round(values), 0, 255).astype(np.uint8))[..., None]
    if image.mode in ("1", "L"):
        return torch.from_numpy(np.array(image.convert("L")))[..., None]
    opaque = image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info
    return torch.from_numpy(np.array(image.convert("RGB" if opaque else "RGBA")))
