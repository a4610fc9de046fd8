"""Inpainting of files: read, mask, fill in, paste the kept part back, write.

A result is written like its input: in the same format, type and layout of files (see `vqkit.image_io.originals`). Beside the first
images there is `before_after/{name}.png`: the input, the result, and where the source holds it, the original and the difference
from it.

Where the image was kept, the values are those of the source, bit for bit. Reading and writing go on beside the model; memory does
not grow with the number of images.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from vqkit.core.links import check_links, no_links_below
from vqkit.errors import DataError
from vqkit.image_io.background import BackgroundWriter
from vqkit.image_io.inputs import Item
from vqkit.image_io.originals import Filled, Output
from vqkit.image_io.overwriting import item_files
from vqkit.image_io.pictures import composite, save_picture
from vqkit.image_io.reading import InputImage, ReadOptions, check_not_whole, read_images
from vqkit.inference.figures import before_after
from vqkit.inference.pipeline import BATCH_SIZE, Conditions, Pipeline
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces import DataSpec

FIGURE = "before_after"
FIGURES = 16
"""Images of which a figure is made, unless more are asked for."""
_BATCH_VALUES = 2**25
"""Most pixel values of a batch of large images."""

Element = TypeVar("Element")


class Written(NamedTuple):
    """The result for one image: its name, the files written for it, among these the before/after figure, if there is one, and
    whether it was filled in tile by tile.
    """

    name: str
    files: tuple[Path, ...]
    figure: Path | None
    tiled: bool = False


def inpaint_items(
    pipeline: Pipeline,
    items: list[Item],
    out: Path,
    request: ReadOptions,
    skip: Callable[[str, str], None],
    conditions: Conditions | None = None,
    batch_size: int = BATCH_SIZE,
    figures: int | None = FIGURES,
) -> Iterator[Written]:
    """Fill in the images of all items in batches and write them below `out`, yielding each as it is written.

    `figures`: of how many of the first images, None for all. `skip` is called with the path of an image that cannot be used and the
    reason. Raises `DataError` when none can be used or an output would replace an input or another output, `ConfigError` for an
    unknown component, form or condition, `OSError` when it cannot write.
    """
    guard = OutputGuard(items, out, pipeline.spec, request)
    images = read_images(items, pipeline.spec, request, skip, check_not_whole)
    with BackgroundWriter[list[Written]](out) as writer:
        for batch in batches_of_one_size(images, batch_size):
            outputs: list[Output] = []
            results: list[Written] = []
            for entry, filled in zip(batch, fill_batch(pipeline, batch, conditions, batch_size), strict=True):
                written = entry.original.outputs(entry.name, filled, entry.observed, out)
                figure = out / FIGURE / f"{entry.name}.png" if figures is None or entry.number < figures else None
                if figure is not None:
                    written.append(Output(figure, partial(_write_figure, entry, filled, figure)))
                guard.check(output.path for output in written)
                outputs += written
                tiled = entry.size[0] > pipeline.spec.height or entry.size[1] > pipeline.spec.width
                results.append(Written(entry.name, tuple(output.path for output in written), figure, tiled))
            writer.submit(outputs, results)
            for finished in writer.finished():
                yield from finished
        for finished in writer.finished(wait=True):
            yield from finished


def fill_batch(
    pipeline: Pipeline, batch: Sequence[InputImage], conditions: Conditions | None = None, batch_size: int = BATCH_SIZE
) -> list[Filled]:
    """The images of a batch, all of one size, filled in."""
    spec = pipeline.spec
    images, observed = (torch.stack(each) for each in zip(*((entry.image, entry.observed) for entry in batch), strict=True))
    unit = spec.to_unit(images)
    expected = pipeline.fill_unit(unit, observed, conditions, batch_size, ~observed)
    return filled_images(fill_missing(expected, unit, observed, spec), images, observed, batch, spec)


def filled_images(
    unit: torch.Tensor, images: torch.Tensor, observed: torch.Tensor, batch: Sequence[InputImage], spec: DataSpec
) -> list[Filled]:
    """Final images as they are written: `unit` float32 and the given `images`, stored, [B, C, H, W], the latter where observed."""
    stored = torch.where(observed, images, spec.from_unit(unit))
    needed = any(entry.original.has_composite for entry in batch)
    together = composite(unit, spec) if needed else [None] * len(batch)
    return [Filled(*parts, spec) for parts in zip(unit, stored, together, strict=True)]


class OutputGuard:
    """Refuses outputs that are inputs, are written twice, or are behind a link. Raises `DataError` when `out` holds the inputs."""

    def __init__(self, items: Sequence[Item], out: Path, spec: DataSpec, request: ReadOptions) -> None:
        self._out = out
        self._folders: dict[str, str] = {}
        inputs = item_files(items)
        if request.mask is not None:
            inputs.append(request.mask.path)
        self._taken = {self._real(path): "the input" for path in inputs}
        first = items[0]
        paths = [self._real(out / first.component_path(first.name, name)) for name in spec.components]
        if len(spec.components) > 1 and any(self._real(path.with_suffix("")) in paths for path in inputs):
            raise DataError(f"{out} holds the images that are to be filled in.", "Choose another directory with --out.")

    def check(self, outputs: Iterable[Path]) -> None:
        """Raise `DataError` for an output that is an input, or that was checked before, and `ConfigError` for one behind a link."""
        for path in outputs:
            with no_links_below(self._out):
                check_links(path)
            real = self._real(path)
            if real in self._taken:
                raise DataError(
                    f"Writing to {self._out} would replace {self._taken[real]} {path}.",
                    "Choose another directory with --out, or give the images other names.",
                )
            self._taken[real] = "the output"

    def _real(self, path: Path) -> str:
        """The path, with links of its folder resolved."""
        folder, _, name = str(path).rpartition(os.sep)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(path.parent)
        return f"{self._folders[folder]}/{name}"


def _write_figure(entry: InputImage, filled: Filled, path: Path) -> None:
    save_picture(before_after(entry.image, entry.observed, entry.present, filled.stored, filled.spec), path)


def batches_of_one_size(images: Iterable[InputImage], size: int) -> Iterator[list[InputImage]]:
    """Successive images of one size, at most `size` at a time, and fewer of large ones."""
    batch: list[InputImage] = []
    for image in images:
        most = max(1, min(size, _BATCH_VALUES // image.image.numel()))
        if batch and (image.size != batch[0].size or len(batch) >= most):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch


def batched(elements: Iterable[Element], size: int) -> Iterator[list[Element]]:
    """Lists of `size` elements, the last one shorter."""
    remaining = iter(elements)
    while batch := list(islice(remaining, size)):
        yield batch
