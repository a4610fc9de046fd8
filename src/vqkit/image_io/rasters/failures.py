"""Whatever goes wrong while a file is read is a `DataError` that names it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from PIL import Image

from vqkit.errors import DataError, VQKitError, reason_of


@contextmanager
def reading_errors(path: Path, kind: str = "picture") -> Iterator[None]:
    """Whatever the libraries raise inside the block becomes a `DataError` naming the file, a `picture` or an `array`."""
    try:
        yield
    except VQKitError:
        raise
    except FileNotFoundError:
        raise DataError(f"There is no file {path}.", "Check the path.") from None
    except PermissionError:
        raise DataError(f"The {kind} {path} may not be read.", "Change its permissions.") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):  # the latter where warnings are made errors
        raise DataError(f"The picture {path} is huge.", f"At most {most_pixels()} pixels are read.") from None
    except MemoryError:
        raise DataError(f"There is too little memory to read {path}.", "Close other programs, or cut it into parts.") from None
    except Exception as error:
        if "imagecodecs" in str(error):  # tifffile names the package that it lacks
            raise DataError(
                f"{path} is compressed in a way that needs the package imagecodecs.", "pip install imagecodecs"
            ) from None
        if kind == "picture":
            message, hint = f"The picture {path} cannot be read: it is damaged or not a picture.", "Replace or remove it."
        else:
            message = f"{path} cannot be read as {path.suffix[1:] or 'an array'}: {reason_of(str(error))}."
            hint = "It is damaged, or holds Python objects that would have to be unpickled, which vqkit never does."
            hint += " Save plain numbers."
        raise DataError(message, hint) from error


def most_pixels() -> int | None:
    """The most pixels of a picture that Pillow decodes (it warns of half of them), or None if any number is allowed."""
    return Image.MAX_IMAGE_PIXELS and 2 * Image.MAX_IMAGE_PIXELS


def image_codecs(path: Path) -> ModuleType:
    """The package imagecodecs. Raises `DataError` naming the file that needs it if it is not installed."""
    try:
        return importlib.import_module("imagecodecs")
    except ImportError:
        raise DataError(f"{path} needs the package imagecodecs, which is not installed.", "pip install imagecodecs") from None


def check_dtype(path: Path, dtype: object) -> None:
    """Refuse values that are no pixels: complex numbers, texts, dates, records. Raises `DataError`."""
    kind, size = getattr(dtype, "kind", "O"), getattr(dtype, "itemsize", 0)
    if kind not in "uif" or size > 8:
        hint = "Store whole numbers of 8 to 32 bits or floating point numbers of 16 to 64."
        raise DataError(f"{path} holds values of type {dtype}, which are not pixel values.", hint)
