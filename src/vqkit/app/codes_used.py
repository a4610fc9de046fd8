"""The codes that a model chooses for an image: which ones, where, and how many different ones."""

from __future__ import annotations

import colorsys
from typing import NamedTuple

from torch import Tensor

from vqkit.errors import DataError
from vqkit.evaluation.metrics import code_histogram, perplexity
from vqkit.image_io.reading import InputImage
from vqkit.inference.pipeline import Pipeline

_GOLDEN = 0.618034


class LevelCodes(NamedTuple):
    """The codes of one level: int64 [h, w], out of `num_codes`; how many `distinct` ones, and their perplexity."""

    name: str
    codes: Tensor
    num_codes: int
    distinct: int
    perplexity: float


class CodesUsed(NamedTuple):
    """The codes of an image, level by level; `is_part`: of its middle only, because it is larger than the model's tile."""

    levels: tuple[LevelCodes, ...]
    is_part: bool


def codes_used(pipeline: Pipeline, image: InputImage) -> CodesUsed:
    """The codes of what is observed of an image; of one larger than the model's tile, those of a tile in its middle.

    Raises `CheckpointError` for a model without codes and `DataError` for an image that is smaller than a tile.
    """
    tokenizer, spec = pipeline.tokenizer, pipeline.spec
    if image.size[0] < spec.height or image.size[1] < spec.width:
        raise DataError(
            f"The image has {image.size[0]} x {image.size[1]} pixels (height x width); "
            f"codes are those of {spec.height} x {spec.width}.",
            "Give a larger one to see them.",
        )
    top, left = (image.size[0] - spec.height) // 2, (image.size[1] - spec.width) // 2
    part = slice(None), slice(top, top + spec.height), slice(left, left + spec.width)
    levels = pipeline.encode_batch(image.image[part][None], image.observed[part][None])
    found = []
    for name, codes, count in zip(tokenizer.level_names, levels, tokenizer.cardinalities, strict=True):
        counts = code_histogram(codes, count)
        found.append(LevelCodes(name, codes[0], count, int((counts > 0).sum()), float(perplexity(counts))))
    return CodesUsed(tuple(found), tuple(image.size) != (spec.height, spec.width))


def code_colour(code: int) -> str:
    """A colour for a code, as in CSS: the same for the same code everywhere, and of neighbouring codes far apart."""
    red, green, blue = colorsys.hsv_to_rgb((code * _GOLDEN) % 1, 0.45 + 0.25 * (code % 3 / 2), (0.95, 0.7, 0.82)[code // 3 % 3])
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
