"""Pictures for display: the palette of a data set, composites of its components, grids and labelled figures.

Label-map PNGs are written and read in the same palette (see `vqkit.image_io.forms`), so its colours are part of a format.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vqkit.core.atomic import write_atomically
from vqkit.interfaces import DataSpec

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

_FIGURE_HEIGHT = 128
_LABEL_SIZE = 13
_MARGIN = 8
_INK = (40, 40, 40)


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


def composite(images: Tensor, spec: DataSpec) -> Tensor:
    """One picture per image, uint8 [B, 3, H, W], of float images [B, C, H, W] in [0, 1] or uint8 ones.

    Colour pictures stay as they are and a single component is shown in grey. Several components are painted in the palette over
    white; where they are soft, or overlap, their colours blend in proportion.
    """
    shares = images.to(torch.float32) / 255 if images.dtype == torch.uint8 else images.to(torch.float32).clamp(0, 1)
    if spec.is_colour or len(spec.components) == 1:
        return (shares * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    shares = shares / shares.sum(dim=1, keepdim=True).clamp_min(1)
    background = torch.tensor(BACKGROUND, dtype=torch.float32, device=images.device)
    tints = palette(spec).to(shares) - background
    painted = torch.einsum("bchw,ct->bthw", shares, tints) + background[:, None, None]
    return painted.round().clamp(0, 255).to(torch.uint8)


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
    font = ImageFont.load_default(size=_LABEL_SIZE)
    indent = _MARGIN + round(max(font.getlength(label) for label, _ in rows)) + _MARGIN
    # A column is as wide as the widest of its picture and the titles, so that no title runs into the next.
    column = max(width * scale, *(round(font.getlength(title)) for title in titles)) if titles else width * scale
    column, line = column + _MARGIN, height * scale + _MARGIN
    top = _MARGIN + (_LABEL_SIZE + _MARGIN if titles else 0)
    most = max(len(pictures) for _, pictures in rows)
    sheet = Image.new("RGB", (indent + most * column, top + len(rows) * line), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    offset = (column - _MARGIN - width * scale) // 2
    for number, title in enumerate(titles):
        centre = indent + number * column + (column - _MARGIN) // 2
        pen.text((centre, _MARGIN + _LABEL_SIZE - 3), title, fill=_INK, font=font, anchor="ms")
    for number, (label, pictures) in enumerate(rows):
        pen.text((_MARGIN, top + number * line + height * scale // 2), label, fill=_INK, font=font, anchor="lm")
        for position, picture in enumerate(pictures):
            sheet.paste(to_pil(picture, scale), (indent + position * column + offset, top + number * line))
    return sheet


def to_pil(picture: Tensor, scale: int = 1) -> Image.Image:
    """A picture uint8 [3, H, W] (colour) or [H, W] (grey), enlarged `scale` times without smoothing."""
    pixels = picture.detach().cpu()
    pixels = pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels
    image = Image.fromarray(pixels.contiguous().numpy())
    return image if scale == 1 else image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)


def image_files(image: Tensor, name: str, out: Path, spec: DataSpec) -> dict[Path, Image.Image]:
    """The pictures that show an image uint8 [C, H, W] without loss, by their paths below `out`.

    `{component}/{name}_{component}.png` for each component in greyscale and `composite/{name}.png` for all of them in the palette;
    `{name}.png` alone for a colour picture or a single component.
    """
    if spec.is_colour or len(spec.components) == 1:
        return {out / f"{name}.png": to_pil(image if spec.is_colour else image[0])}
    named = zip(spec.components, image, strict=True)
    files = {out / component / f"{name}_{component}.png": to_pil(values) for component, values in named}
    return {**files, out / COMPOSITE / f"{name}.png": to_pil(composite(image[None], spec)[0])}


def save_picture(image: Image.Image, path: Path) -> None:
    """Write a picture atomically, in the format of the suffix. Raises `OSError`."""
    with write_atomically(path) as temporary:
        image.save(temporary)


def save_pictures(pictures: Mapping[Path, Image.Image]) -> None:
    """Write many pictures at once, each as `save_picture` does. Raises `OSError`; other pictures may still be written."""
    # A thread mostly waits for the disk to confirm a file: eight of them are ten times faster than one.
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(save_picture, pictures.values(), pictures.keys()):
            pass
