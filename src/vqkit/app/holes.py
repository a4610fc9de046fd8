"""Holes in an image: painted over a picture of it, or a square in its middle."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqkit.errors import DataError
from vqkit.image_io.pictures import composite, to_pil
from vqkit.image_io.reading import InputImage
from vqkit.interfaces import DataSpec, where_present

CANVAS = 448
"""Longer side, about, in pixels, of the picture that is painted on."""
_OPAQUE = 128


def canvas(image: InputImage, spec: DataSpec) -> Image.Image:
    """A picture of all components to paint on: small images are enlarged by a whole factor, large ones reduced."""
    unit = where_present(spec.to_unit(image.image[None]), image.present[None])
    picture = composite(unit, spec, image.present[None])[0]
    longer = max(image.size)
    if longer <= CANVAS:
        return to_pil(picture, CANVAS // longer)
    width, height = (max(1, round(side * CANVAS / longer)) for side in (image.size[1], image.size[0]))
    return to_pil(picture).resize((width, height), Image.Resampling.BOX)


def centre_hole(height: int, width: int) -> Tensor:
    """A hole in the middle, half as high and as wide as the image: bool [H, W], True inside."""
    hole = torch.zeros(height, width, dtype=torch.bool)
    hole[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return hole


def painted_hole(layers: Sequence[Image.Image], height: int, width: int) -> Tensor:
    """Where anything was painted, on the grid of the image: bool [H, W]; a pixel of which at least half is covered.

    `layers`: pictures with transparency of one size, that of `canvas`. Raises `DataError` where nothing was painted.
    """
    hole = torch.zeros(height, width, dtype=torch.bool)
    for layer in layers:
        covered = layer.convert("RGBA").getchannel("A").resize((width, height), Image.Resampling.BOX)
        hole |= torch.from_numpy(np.array(covered) >= _OPAQUE)
    if not bool(hole.any()):
        raise DataError("Nothing is painted, so there is no hole.", "Paint over what is to be filled in, or choose another hole.")
    return hole
