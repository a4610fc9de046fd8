"""Pictures for display: the palette of a data set, composites of its components, grids and labelled figures.

Label-map PNGs are written and read in the same palette (see `vqkit.image_io.forms`), so its colours are part of a format.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vqkit.core.atomic import write_atomically
from vqkit.interfaces import DataSpec, where_present

BACKGROUND = (255, 255, 255)
"""Colour of a pixel that belongs to no component."""

COMPOSITE = "composite"
"""Folder of the pictures that show all components."""

_DISTINCT = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (86, 180, 233),
    (240, 228, 66),
    (102, 62, 20),
)
# The colour-blind safe set of Okabe and Ito (2008), strongest contrasts first; brown stands for their black, so that no colour is
# a shade of grey and a label map can be distinguished from a greyscale picture.

_RED_GREEN_BLUE = (("r", "g", "b"), ("red", "green", "blue"), ("b04", "b03", "b02"))
_OPACITY = 0.5
"""Of shapes that are painted over intensities."""

_FIGURE_HEIGHT = 128
_LABEL_SIZE = 12
_MARGIN = 8
INK = (40, 40, 40)
"""Colour of text in figures."""


def palette(spec: DataSpec) -> Tensor:
    """A colour for each component, uint8 [C, 3]: all distinct, none grey; red, green and blue for a colour picture."""
    if spec.is_colour:
        return torch.eye(3, dtype=torch.uint8) * 255
    count = len(spec.components)
    further = (_spread(number) for number in range(max(0, count - len(_DISTINCT))))
    return torch.tensor([*_DISTINCT[:count], *further], dtype=torch.uint8)


def _spread(number: int) -> tuple[int, int, int]:
    """Colour `number` of the many that follow the first eight: hues a golden angle apart, in turns light and dark."""
    hue = (0.08 + number * 0.618034) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9 - 0.25 * (number // 3 % 2), (0.95, 0.6, 0.78)[number % 3])
    return round(red * 255), round(green * 255), round(blue * 255)


def display_components(spec: DataSpec) -> tuple[str, ...]:
    """The intensities that a composite shows: three as red, green and blue, one in grey; none where all components are binary.

    Those of `spec.display`; else components named r, g, b or red, green, blue, or the bands B04, B03, B02 of satellites (red, green
    and blue of Sentinel-2 and of Landsat 8); else the first.
    """
    if spec.display:
        return spec.display
    intensities = [each.name for each in spec.component_specs if each.kind == "intensity"]
    by_lower = {name.lower(): name for name in reversed(intensities)}
    for names in _RED_GREEN_BLUE:
        if all(name in by_lower for name in names):
            return tuple(by_lower[name] for name in names)
    return tuple(intensities[:1])


def painted_components(spec: DataSpec) -> list[int]:
    """Positions of the components that are shown in their colour of the palette: binary ones, unless there is but one component."""
    return spec.binary.nonzero().flatten().tolist() if len(spec.components) > 1 else []


def composite_shows_all(spec: DataSpec) -> bool:
    """Whether a composite leaves nothing out: of one component, of red, green and blue, and of shapes."""
    return spec.is_colour or len(spec.components) == 1 or spec.value_kind == "binary"


def composite(images: Tensor, spec: DataSpec, present: Tensor | None = None) -> Tensor:
    """One picture per image, uint8 [B, 3, H, W], of images float [B, C, H, W] in units of the range; beyond it, they are clipped.

    A single component is shown in grey. Intensities are shown as `display_components` says, each from the low to the high end of
    its range. Binary components are painted in the palette, over white or half transparently over the intensities; where they are
    soft, or overlap, their colours blend in proportion.

    `present`: bool, broadcastable to the images; what is not present is left out, whatever its value, and a pixel of which nothing
    is present is hatched.
    """
    values = where_present(images.to(torch.float32), present).clamp(0, 1)
    shapes = painted_components(spec)
    positions = spec.component_indices(display_components(spec)) if len(spec.components) > 1 else [0]
    base = values[:, positions] * 255 if positions else torch.full_like(values[:, :1], BACKGROUND[0])
    painted = base.expand(-1, 3, -1, -1)
    if shapes:
        shares = values[:, shapes]
        shares = shares / shares.sum(dim=1, keepdim=True).clamp_min(1) * (_OPACITY if positions else 1)
        colours = torch.einsum("bchw,ct->bthw", shares, palette(spec)[shapes].to(shares))
        painted = painted * (1 - shares.sum(dim=1, keepdim=True)) + colours
    pictures = painted.round().clamp(0, 255).to(torch.uint8)
    if present is None:
        return pictures
    hidden = ~present.expand(images.shape)[:, [*positions, *shapes]].any(dim=1, keepdim=True)
    return torch.where(hidden, hatching(*images.shape[2:]).to(images.device), pictures)


def hatching(height: int, width: int) -> Tensor:
    """Slanted grey stripes, uint8 [1, H, W], for pixels without data."""
    stripe = (torch.arange(height)[:, None] + torch.arange(width)) % 6 < 2
    return torch.where(stripe, 200, 232).to(torch.uint8)[None]


def grid(pictures: Tensor, columns: int, scale: int = 1, gap: int = 2) -> Image.Image:
    """Pictures uint8 [B, 3, H, W] in rows of `columns`, each enlarged `scale` times, `gap` pixels apart, on white."""
    count, _, height, width = pictures.shape
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    size = (columns * (width * scale + gap) + gap, rows * (height * scale + gap) + gap)
    sheet = Image.new("RGB", size, BACKGROUND)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        place = (gap + column * (width * scale + gap), gap + row * (height * scale + gap))
        sheet.paste(to_pil(picture, scale), place)
    return sheet


def rows_figure(rows: Sequence[tuple[str, Tensor]], scale: int | None = None, titles: Sequence[str] = ()) -> Image.Image:
    """Labelled rows of pictures on one sheet.

    `rows`: a label and pictures uint8 [B, 3, H, W] each, all of one size; `titles`: a heading for each column;
    `scale`: how many times the pictures are enlarged, by default until they can be seen well.
    """
    height, width = rows[0][1].shape[-2:]
    scale = scale or max(1, round(_FIGURE_HEIGHT / height))
    letters = font()
    indent = _MARGIN + round(max(letters.getlength(label) for label, _ in rows)) + _MARGIN
    # A column is as wide as the widest of its picture and the titles, so that no title runs into the next.
    column = max(width * scale, *(round(letters.getlength(title)) for title in titles)) if titles else width * scale
    column, line = column + _MARGIN, height * scale + _MARGIN
    top = _MARGIN + (_LABEL_SIZE + _MARGIN if titles else 0)
    most = max(len(pictures) for _, pictures in rows)
    sheet = Image.new("RGB", (indent + most * column, top + len(rows) * line), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    offset = (column - _MARGIN - width * scale) // 2
    for number, title in enumerate(titles):
        centre = indent + number * column + (column - _MARGIN) // 2
        pen.text((centre, _MARGIN + _LABEL_SIZE - 3), title, fill=INK, font=letters, anchor="ms")
    for number, (label, pictures) in enumerate(rows):
        pen.text((_MARGIN, top + number * line + height * scale // 2), label, fill=INK, font=letters, anchor="lm")
        for position, picture in enumerate(pictures):
            sheet.paste(to_pil(picture, scale), (indent + position * column + offset, top + number * line))
    return sheet


@lru_cache
def font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of figures: matplotlib's, which has Greek and accented letters, unlike the one of Pillow."""
    found = find_spec("matplotlib")
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(str(path), _LABEL_SIZE)
    return ImageFont.load_default(size=_LABEL_SIZE)


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Sheets one below the other, on white."""
    size = (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets))
    whole, top = Image.new("RGB", size, BACKGROUND), 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def to_pil(picture: Tensor, scale: int = 1) -> Image.Image:
    """A picture uint8 [3, H, W] (colour) or [H, W] (grey), enlarged `scale` times without smoothing."""
    pixels = picture.detach().cpu()
    pixels = pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels
    image = Image.fromarray(pixels.contiguous().numpy())
    return image if scale == 1 else image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a picture atomically, in the format of the suffix. Raises `OSError`."""
    with write_atomically(path) as temporary:
        image.save(temporary)
