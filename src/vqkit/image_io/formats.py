"""The file formats that are read and written: one table, from which every list of suffixes is derived."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

Kind = Literal["picture", "folder", "array", "archive", "tensors"]
"""`picture` and `folder`: opened by `vqkit.image_io.rasters`; `array`: one array; `archive` and `tensors`: several, by name."""


class Format(NamedTuple):
    """A file format: the suffixes of its files, what they hold, and whether pictures are written in it."""

    name: str
    suffixes: tuple[str, ...]
    kind: Kind
    writable: bool = False


FORMATS = (
    Format("PNG", (".png",), "picture", writable=True),
    Format("JPEG", (".jpg", ".jpeg"), "picture", writable=True),
    Format("WebP", (".webp",), "picture", writable=True),
    Format("BMP", (".bmp",), "picture", writable=True),
    Format("TIFF", (".tif", ".tiff"), "picture", writable=True),
    Format("GIF", (".gif",), "picture"),
    Format("Netpbm", (".ppm", ".pgm"), "picture"),
    Format("TGA", (".tga",), "picture"),
    Format("JPEG 2000", (".jp2", ".j2k", ".jpx"), "picture"),
    Format("OME-Zarr", (".zarr",), "folder"),
    Format("NumPy array", (".npy",), "array"),
    Format("NumPy archive", (".npz",), "archive"),
    Format("safetensors", (".safetensors",), "tensors"),
)


def _suffixes(*kinds: Kind) -> frozenset[str]:
    return frozenset(suffix for each in FORMATS if each.kind in kinds for suffix in each.suffixes)


PICTURE_SUFFIXES = _suffixes("picture")
FOLDER_SUFFIXES = _suffixes("folder")
"""Images that are folders of many files."""
IMAGE_SUFFIXES = _suffixes("picture", "folder", "array")
"""Files, and folders of OME-Zarr, that hold one image each, in the directories of a data set."""
INPUT_SUFFIXES = _suffixes("picture", "folder", "array", "archive")
"""Files that a trained model takes images from."""
DATASET_SUFFIXES = _suffixes("array", "archive", "tensors")
"""Files that hold a whole data set."""
TIFF_SUFFIXES = next(each.suffixes for each in FORMATS if each.name == "TIFF")
WRITABLE_SUFFIXES = tuple(suffix for each in FORMATS if each.writable for suffix in each.suffixes)
"""Formats in which pictures are written."""


def has_suffix(path: Path, suffixes: frozenset[str] | tuple[str, ...]) -> bool:
    """Whether a path ends in one of the suffixes, whatever the case of its letters."""
    return path.suffix.lower() in suffixes
