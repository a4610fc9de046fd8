"""Which size a model sees of images: the whole, tiles that are cut out of larger images, or all of them scaled to one size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from vqkit.data.arranging import ImageFiles
from vqkit.data.image_reading import Scaling
from vqkit.errors import DataError

FALLBACK_SIZE = 64
"""Height and width of tiles, and of scaled photographs, where nothing else is said."""
LARGEST_WHOLE = 256
"""Longest side of measurements that are not cut into tiles unless that is asked for."""
_MULTIPLE = 8
"""Sides of tiles are a multiple of this where images are large enough: models halve them two or three times."""

FitChoice = Literal["auto", "crop", "scale"]
Fit = Annotated[
    FitChoice,
    Field(
        description="What is done with images of another size than height x width. crop: tiles are cut out of larger ones, at "
        "random places in training and side by side otherwise; scale: they are scaled and centre-cropped; auto: scale for "
        "photographs (colour or grey of 8 bits, one file each), else crop."
    ),
]
"""The setting `fit`."""

ImageKind = Literal["photograph", "eight bits", "measurement"]
"""What images are: 8-bit colour or grey in one file each, other images of 8 bits, or anything else."""


class Tile(NamedTuple):
    """The size that a model sees; how images are scaled to it, or None if tiles are cut out; and a sentence on what is done."""

    height: int
    width: int
    scaling: Scaling | None = None
    note: str = ""


class SizeSettings(NamedTuple):
    """The settings `height`, `width` and `fit`."""

    height: int | None
    width: int | None
    fit: FitChoice


def choose_tile(images: Sequence[ImageFiles], settings: SizeSettings, kind: ImageKind, root: Path) -> Tile:
    """The tile for images of these sizes. One of height and width alone is both.

    Raises `DataError` for an image that is smaller than its tiles, and for images of 8 bits of several sizes, unless the size or
    what is done is set: shapes are neither scaled nor cut unasked.
    """
    sizes = Counter(image.size for image in images)
    scales = settings.fit == "scale" or (settings.fit == "auto" and kind == "photograph")
    height, width = settings.height or settings.width, settings.width or settings.height
    note = ""
    if height is None or width is None:
        if kind == "eight bits" and settings.fit == "auto" and len(sizes) > 1:
            raise _different(images, sizes)
        height, width = _default_size(sizes, kind, scales)
        note = _note(sizes, height, width, scales, root)
    if set(sizes) == {(height, width)}:
        return Tile(height, width)
    if scales:
        return Tile(height, width, Scaling(height, width, smooth=kind == "photograph"), note)
    _check_large_enough(images, height, width)
    return Tile(height, width, None, note)


def _default_size(sizes: Counter[tuple[int, int]], kind: ImageKind, scales: bool) -> tuple[int, int]:
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        if scales or kind != "measurement" or max(height, width) <= LARGEST_WHOLE:
            return height, width
    if scales:
        return FALLBACK_SIZE, FALLBACK_SIZE
    return tile_side(min(height for height, _ in sizes)), tile_side(min(width for _, width in sizes))


def tile_side(smallest: int) -> int:
    """The side of a tile for images whose smallest side is this long."""
    side = min(FALLBACK_SIZE, smallest)
    return side // _MULTIPLE * _MULTIPLE or side


def _note(sizes: Counter[tuple[int, int]], height: int, width: int, scales: bool, root: Path) -> str:
    """What is done with images of other sizes; nothing if there are none."""
    if set(sizes) == {(height, width)}:
        return ""
    change = "Choose another size with data.height and data.width"
    if scales:
        done = f"all are scaled and centre-cropped to {height} x {width}"
        return f"The pictures in {root} have {len(sizes)} different sizes; {done}. {change}."
    first, last = min(sizes, key=_area), max(sizes, key=_area)
    given = f"{first[0]} x {first[1]}" + (f" to {last[0]} x {last[1]}" if last != first else "")
    seen = f"the model sees tiles of {height} x {width} (height x width)"
    return f"The images in {root} are {given}; {seen}. {change}, or scale them with data.fit=scale."


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _different(images: Sequence[ImageFiles], sizes: Counter[tuple[int, int]]) -> DataError:
    common = sizes.most_common(1)[0][0]
    other = next(image for image in images if image.size != common)
    height, width = other.size
    return DataError(
        f"{other.reference.path} is {width} wide and {height} high, not {common[1]} and {common[0]} like the others.",
        "Bring all to one size, or set data.height and data.width: tiles of that size are then cut out of larger images.",
    )


def _check_large_enough(images: Sequence[ImageFiles], height: int, width: int) -> None:
    small = [image for image in images if image.size[0] < height or image.size[1] < width]
    if not small:
        return
    given = f"{small[0].size[1]} wide and {small[0].size[0]} high"
    rows, columns = (min(image.size[axis] for image in images) for axis in (0, 1))
    raise DataError(
        f"{small[0].reference.path} is {given}, smaller than a tile, which is {width} and {height}; so are {len(small)} images.",
        f"Set data.height to at most {rows} and data.width to at most {columns}, scale all with data.fit=scale, or remove it.",
    )
