"""Filling in files: read, mask, fill, paste back, write.

What is written below the output directory is in the component layout, so that it can be read again as a data set:

    {component}/{name}_{component}.png    every component; {name}.png alone for colour pictures and single components
    composite/{name}.png                  all components in the palette (a label map when they exclude each other)
    before_after/{name}.png               what was given, what came out, and the truth where the source holds it

Where the image was kept, the values are those of the source, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor

from vqkit.data.pictures import composite, rows_figure, save_picture, to_pil
from vqkit.data.reading import Entry, Item, Request, read_entries
from vqkit.errors import DataError
from vqkit.generate import BATCH_SIZE, Conditions, Pipeline, settle
from vqkit.interfaces import DataSpec

COMPOSITE = "composite"
FIGURE = "before_after"
_WIDEST_FIGURE = 8
"""Components that a figure shows one by one; with more, it shows composites only."""

Element = TypeVar("Element")


class Written(NamedTuple):
    """What came of one image: its name, the files written for it, and its before/after figure."""

    name: str
    files: tuple[Path, ...]
    figure: Path


def inpaint_items(
    pipeline: Pipeline,
    items: list[Item],
    out: Path,
    request: Request,
    skip: Callable[[str, str], None],
    conditions: Conditions | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Written]:
    """Fill in the images of all items in batches and write them below `out`, yielding each as it is written.

    `skip` is called with the path of an image that cannot be used and the reason. Raises `DataError` when none can be used or an
    output would replace an input, `ConfigError` for an unknown component, form or condition, `OSError` when it cannot write.
    """
    inputs = {path.resolve() for item in items for path in item.files.values()}
    for batch in batched(read_entries(items, pipeline.spec, request, False, skip), batch_size):
        images = torch.stack([entry.image for entry in batch])
        observed = torch.stack([entry.observed for entry in batch])
        expected = pipeline.fill(images, observed, conditions, batch_size)
        for entry, filled in zip(batch, settle(expected, images, observed, pipeline.spec), strict=True):
            yield write_filled(entry, filled, out, pipeline.spec, inputs)


def write_filled(entry: Entry, filled: Tensor, out: Path, spec: DataSpec, inputs: set[Path]) -> Written:
    """Write a filled image uint8 [C, H, W] and its figure. Raises `DataError` rather than replacing one of `inputs`."""
    if spec.is_colour or len(spec.components) == 1:
        pictures = {out / f"{entry.name}.png": filled if spec.is_colour else filled[0]}
    else:
        named = zip(spec.components, filled, strict=True)
        pictures = {out / component / f"{entry.name}_{component}.png": values for component, values in named}
        pictures[out / COMPOSITE / f"{entry.name}.png"] = composite(filled[None], spec)[0]
    figure = out / FIGURE / f"{entry.name}.png"
    for path in (*pictures, figure):
        if path.resolve() in inputs:
            raise DataError(f"Writing to {out} would replace the input {path}.", "Choose another directory with --out.")
    for path, picture in pictures.items():
        save_picture(to_pil(picture), path)
    save_picture(before_after(entry, filled, spec), figure)
    return Written(entry.name, tuple(pictures), figure)


def before_after(entry: Entry, filled: Tensor, spec: DataSpec) -> Image.Image:
    """A figure of an image: what was given (hatched where nothing was), what came out, and the truth if the source holds it."""
    rows = [("given", _views(entry.image, entry.observed, spec)), ("filled in", _views(filled, None, spec))]
    if bool(entry.present.all()):
        rows.append(("truth", _views(entry.image, None, spec)))
    return rows_figure(rows, titles=["together", *spec.components] if len(rows[0][1]) > 1 else ())


def _views(image: Tensor, observed: Tensor | None, spec: DataSpec) -> Tensor:
    """All components together, then each alone: uint8 [1 + C, 3, H, W]; hatched where nothing is observed."""
    components = len(spec.components)
    alone = torch.eye(components, dtype=torch.uint8)[:, :, None, None]
    shown = torch.ones(1, components, 1, 1, dtype=torch.uint8)
    if 1 < components <= _WIDEST_FIGURE:
        shown = torch.cat([shown, alone])
    if observed is None:
        return composite(image * shown, spec)
    missing = ~(observed & (shown > 0)).any(dim=1, keepdim=True)
    return torch.where(missing, hatching(spec.height, spec.width), composite(image * observed * shown, spec))


def hatching(height: int, width: int) -> Tensor:
    """Slanted grey stripes, uint8 [1, H, W]: how a figure shows that nothing is known."""
    stripe = (torch.arange(height)[:, None] + torch.arange(width)) % 6 < 2
    return torch.where(stripe, 200, 232).to(torch.uint8)[None]


def batched(elements: Iterable[Element], size: int) -> Iterator[list[Element]]:
    """Lists of `size` elements, the last one shorter."""
    remaining = iter(elements)
    while batch := list(islice(remaining, size)):
        yield batch
