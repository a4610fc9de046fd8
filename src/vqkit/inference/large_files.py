"""Filling in images too large for memory: read, filled in and written by rows (see `vqkit.inference.tiling`).

The before/after figure shows every k-th row and column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vqkit.core.memory import return_freed_memory
from vqkit.errors import DataError
from vqkit.image_io.inputs import Item
from vqkit.image_io.large_images import LargeImage, LargeResult, Rows
from vqkit.image_io.originals import Filled
from vqkit.image_io.pictures import save_picture
from vqkit.image_io.reading import ReadOptions
from vqkit.inference.figures import before_after
from vqkit.inference.inpaint import FIGURE, FIGURES, OutputGuard, Written
from vqkit.inference.pipeline import BATCH_SIZE, Conditions, Pipeline, condition_rows
from vqkit.inference.postprocess import fill_missing
from vqkit.inference.tiling import ImageRows, fill_rows

_SHOWN = 512
"""Greatest height and width of what a figure shows of a large image."""

Follow = Callable[[str, int], AbstractContextManager[Callable[[float], None]]]
"""Shows progress: called with what is counted and how many there are; what it gives is called with how many are done."""


def inpaint_large_items(
    pipeline: Pipeline,
    items: list[Item],
    out: Path,
    request: ReadOptions,
    skip: Callable[[str, str], None],
    conditions: Conditions | None = None,
    batch_size: int = BATCH_SIZE,
    follow: Follow = lambda what, count: nullcontext(lambda done: None),
    figures: int | None = FIGURES,
) -> Iterator[Written]:
    """Fill in large images one after the other and write them below `out`, yielding each when it is written.

    `follow` shows the progress of each image; `figures`: of how many of the first images, None for all. `skip` is called with the
    path of an image that cannot be used and the reason. Raises `DataError` for the only image, or when an output would replace an
    input, and `ConfigError` and `OSError` as `inpaint_items`.
    """
    guard, done = OutputGuard(items, out, pipeline.spec, request), 0
    for item in items:
        try:
            image = LargeImage(item, pipeline.spec, request)
        except DataError as error:
            if len(items) == 1:
                raise
            skip(str(item.path), str(error))
            continue
        with image:
            figure = out / FIGURE / f"{item.name}.png" if figures is None or done < figures else None
            yield _fill_in(pipeline, image, out, guard, condition_rows(pipeline.spec, conditions, 1), batch_size, follow, figure)
            done += 1


def _fill_in(
    pipeline: Pipeline,
    image: LargeImage,
    out: Path,
    guard: OutputGuard,
    conditions: Tensor,
    batch_size: int,
    follow: Follow,
    figure: Path | None,
) -> Written:
    """Fill in one image, whose conditions are float32 [1, D]; `figure`: where that of it is written, if it is."""
    spec = pipeline.spec
    grid = pipeline.tile_grid(image.height, image.width)
    result = LargeResult(image, out)
    paths = (*result.paths, *([] if figure is None else [figure]))
    guard.check(paths)
    shown = _Shown(image)

    def read(top: int, count: int) -> ImageRows:
        rows = image.read(top, count)
        shown.add_given(top, rows)
        return ImageRows(rows.image, rows.observed, ~rows.observed)

    def fill(tiles: Tensor, known: Tensor, numbers: Tensor) -> Tensor:
        return pipeline.fill_tiles(spec.to_unit(tiles), known, conditions[numbers])

    with result, follow(f"{image.item.name}: rows", image.height) as advance:
        for part in fill_rows(read, fill, grid, batch_size):
            given, observed = part.given.images[None], part.given.observed[None]
            unit = fill_missing(part.expected[None], spec.to_unit(given), observed, spec)
            stored = torch.where(observed, given, spec.from_unit(unit))[0]
            result.write(part.top, Filled(unit[0], stored, None, spec), observed[0])
            shown.add_filled(part.top, stored)
            advance(stored.shape[1])
            return_freed_memory()
    if figure is not None:
        save_picture(shown.figure(), figure)
    return Written(image.item.name, paths, figure)


class _Shown:
    """Every k-th row and column of a large image and of its result, which are added from top to bottom."""

    def __init__(self, image: LargeImage) -> None:
        self._image = image
        self._step = math.ceil(max(image.height, image.width) / _SHOWN)
        self._given: list[Sequence[Tensor]] = []
        self._filled: list[Tensor] = []

    def add_given(self, top: int, rows: Rows) -> None:
        """Add rows from `top` on as they were given."""
        self._given.append([self._some(top, tensor) for tensor in rows])

    def add_filled(self, top: int, stored: Tensor) -> None:
        """Add final rows from `top` on, stored values [C, R, W]."""
        self._filled.append(self._some(top, stored))

    def figure(self) -> Image.Image:
        """The before/after figure."""
        image, present, observed = (torch.cat(parts, dim=1) for parts in zip(*self._given, strict=True))
        return before_after(image, observed, present, torch.cat(self._filled, dim=1), self._image.spec)

    def _some(self, top: int, rows: Tensor) -> Tensor:
        return rows[:, -top % self._step :: self._step, :: self._step].clone()
