"""Inpainting of files: read, mask, fill in, paste the kept part back, write.

Images are written below the output directory as `vqkit.image_io.pictures.image_files` lays them out, so that they can be read again
as a data set, and beside them `before_after/{name}.png`: the input, the result, and where the source holds it, the
original and the difference from it.

Where the image was kept, the values are those of the source, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from PIL import Image

from vqkit.errors import DataError
from vqkit.image_io.pictures import image_files, save_pictures
from vqkit.image_io.reading import Item, ReadOptions, read_images
from vqkit.inference.figures import before_after
from vqkit.inference.pipeline import BATCH_SIZE, Conditions, Pipeline
from vqkit.inference.postprocess import fill_stored
from vqkit.interfaces import DataSpec

FIGURE = "before_after"

Element = TypeVar("Element")


class Written(NamedTuple):
    """The result for one image: its name, the files written for it, and among these the before/after figure."""

    name: str
    files: tuple[Path, ...]
    figure: Path


def inpaint_items(
    pipeline: Pipeline,
    items: list[Item],
    out: Path,
    request: ReadOptions,
    skip: Callable[[str, str], None],
    conditions: Conditions | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Written]:
    """Fill in the images of all items in batches and write them below `out`, yielding each as it is written.

    `skip` is called with the path of an image that cannot be used and the reason. Raises `DataError` when none can be used or an
    output would replace an input, `ConfigError` for an unknown component, form or condition, `OSError` when it cannot write.
    """
    inputs = files_to_keep(items, out, pipeline.spec)
    for batch in batched(read_images(items, pipeline.spec, request, False, skip), batch_size):
        images = torch.stack([entry.image for entry in batch])
        observed = torch.stack([entry.observed for entry in batch])
        expected = pipeline.fill(images, observed, conditions, batch_size)
        pictures: dict[Path, Image.Image] = {}
        results = []
        for entry, filled in zip(batch, fill_stored(expected, images, observed, pipeline.spec), strict=True):
            figure = out / FIGURE / f"{entry.name}.png"
            drawn = before_after(entry.image, entry.observed, entry.present, filled, pipeline.spec)
            files = {**image_files(filled, entry.name, out, pipeline.spec), figure: drawn}
            results.append(Written(entry.name, tuple(files), figure))
            pictures |= files
        refuse_inputs(pictures, inputs, out)
        save_pictures(pictures)
        yield from results


def files_to_keep(items: list[Item], out: Path, spec: DataSpec) -> set[Path]:
    """The files that the items are read from. Raises `DataError` when `out` is the component layout that holds them."""
    inputs = {path.resolve() for item in items for path in item.files.values()}
    if any(path.parent.name in spec.components and path.parent.parent == out.resolve() for path in inputs):
        raise DataError(f"{out} holds the images that are to be filled in.", "Choose another directory with --out.")
    return inputs


def refuse_inputs(outputs: Iterable[Path], inputs: set[Path], out: Path) -> None:
    """Raise `DataError` when an output is also an input."""
    for path in outputs:
        if path.resolve() in inputs:
            raise DataError(f"Writing to {out} would replace the input {path}.", "Choose another directory with --out.")


def batched(elements: Iterable[Element], size: int) -> Iterator[list[Element]]:
    """Lists of `size` elements, the last one shorter."""
    remaining = iter(elements)
    while batch := list(islice(remaining, size)):
        yield batch
