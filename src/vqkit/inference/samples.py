"""New images as files: drawn block by block, laid out as a data set, with a grid for an overview.

out/images/                       the pictures, laid out as by `image_io.originals.plain_outputs`, and the table of conditions where
                                  they have several components: a data set again
out/grid.png                      the first of them; for a sweep, one column per value of the condition
out/samples.json                  the prior, the settings, and each image's number, conditions and class
out/codes.safetensors             their codes, if requested
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from vqkit.core import distributed
from vqkit.core.atomic import write_atomically, write_text
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import align_conditions, shuffled_indices
from vqkit.errors import DataError
from vqkit.image_io.background import BackgroundWriter
from vqkit.image_io.originals import Filled, Output, plain_outputs
from vqkit.image_io.panels import overview
from vqkit.image_io.pictures import composite, composite_shows_all, rows_figure, stacked
from vqkit.image_io.tables import TABLE, write_table
from vqkit.inference.image_sampler import ImageSampler, Labels
from vqkit.inference.pipeline import Conditions
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Codes, DataSpec, ShownImages
from vqkit.interfaces.priors import Advance, Sampling
from vqkit.storage.code_files import CodesFile, write_codes

IMAGES, GRID, CODES = "images", "grid.png", "codes.safetensors"
MOST_SHOWN = 64
"""Most images in the grid, or rows in that of a sweep."""
_SHOWN_WHOLE = 4
"""Images of which all components are shown, where a composite leaves some out."""
_BLOCK = 1024
"""Images that are held in memory at once."""
_FILES = 512
"""Files that are flushed to the disk together."""


class Block(NamedTuple):
    """Images that are drawn together: their names, the number of the first, and the conditioning of all or of each."""

    names: tuple[str, ...]
    first: int
    conditions: Conditions
    labels: Labels | None

    def part(self, images: range) -> Block:
        """Some images of the block."""
        chosen = slice(images.start, images.stop)
        conditions = {name: value if isinstance(value, float | int) else value[chosen] for name, value in self.conditions.items()}
        labels = self.labels if self.labels is None or isinstance(self.labels, str | int) else self.labels[chosen]
        return Block(self.names[chosen], self.first + images.start, conditions, labels)


class Sweep(NamedTuple):
    """A condition and the values that it takes, one after the other."""

    name: str
    values: tuple[float, ...]


class DrawnBlock(NamedTuple):
    """The result for a block: `codes`, `conditions` and `labels` as in `Samples`; its first images, as composites and stored."""

    block: Block
    codes: Codes
    conditions: Tensor
    labels: Tensor
    pictures: Tensor
    images: Tensor


def plain_blocks(count: int, conditions: Mapping[str, float | Tensor], labels: Tensor | str | None) -> list[Block]:
    """Blocks of `count` images; conditions and labels are one for all images or, as tensors, one for each."""
    blocks = []
    for start in range(0, count, _BLOCK):
        part = slice(start, min(count, start + _BLOCK))
        named = {name: value[part].tolist() if isinstance(value, Tensor) else value for name, value in conditions.items()}
        names = tuple(f"sample_{number:05d}" for number in range(part.start, part.stop))
        blocks.append(Block(names, start, named, labels[part].tolist() if isinstance(labels, Tensor) else labels))
    return blocks


def sweep_blocks(count: int, sweep: Sweep, conditions: Mapping[str, float], label: str | None) -> list[Block]:
    """A block of `count` images for each value; all blocks have the same sample numbers, and so the same noise."""
    return [
        Block(tuple(f"{sweep.name}_{value:g}_{row:05d}" for row in range(count)), 0, {**conditions, sweep.name: value}, label)
        for value in sweep.values
    ]


def conditions_of_test_set(sampler: ImageSampler, count: int) -> tuple[dict[str, float | Tensor], Tensor | None, str]:
    """Conditions [count] by name and labels [count] of test images, repeated as needed, and the name of the data set.

    Only those that the sampler can be conditioned on. Raises `DataError` if the data set cannot be read.
    """
    try:
        if sampler.data is None:
            raise DataError(f"{sampler.path} does not name the data set that it was trained on.", "")
        split = open_dataset(sampler.data).split("test")
    except DataError as error:
        raise DataError(
            f"The conditions of the test set cannot be read: {error.message}",
            "Give the conditioning with --condition or --class, or use --mode unconditional.",
        ) from None
    batch = align_conditions(split.batch(shuffled_indices(len(split), count)), split.spec, sampler.spec)
    columns = zip(sampler.spec.condition_names, batch.conditions.T, strict=True)
    conditions: dict[str, float | Tensor] = dict(columns) if sampler.condition_names else {}
    return conditions, batch.labels if sampler.classes else None, split.spec.name


def draw_blocks(
    sampler: ImageSampler,
    blocks: Sequence[Block],
    out: Path,
    sampling: Sampling,
    batch_size: int | None = None,
    advance: Advance | None = None,
) -> list[DrawnBlock]:
    """Draw the blocks, each shared by the processes that there are, and write their images below `out`.

    Raises as `ImageSampler.sample` does, and `OSError` when it cannot write.
    """
    return [_draw_together(sampler, block, out, sampling, batch_size, advance) for block in blocks]


def _draw_together(
    sampler: ImageSampler, block: Block, out: Path, sampling: Sampling, batch_size: int | None, advance: Advance | None
) -> DrawnBlock:
    """Draw a block in all processes, each of which writes its part; the result is whole on each of them.

    A process without a part of a small block draws its first image and keeps nothing of it, so that it has as many levels.
    """
    own = distributed.share(len(block.names))
    part = block.part(own or range(1))
    samples = sampler.sample(len(part.names), part.conditions, part.labels, sampling, batch_size, advance, part.first)
    images, names = samples.images[: len(own)], part.names[: len(own)]
    shown = _write_images(names, images, sampler.spec, out / IMAGES) if own else torch.empty(0)
    tensors = (samples.conditions, samples.labels, *samples.codes)
    conditions, labels, *codes = (distributed.gather_rows(each[: len(own)]) for each in tensors)
    pictures = distributed.gather_rows(shown[:MOST_SHOWN])[:MOST_SHOWN]
    first = distributed.gather_rows(images[:_SHOWN_WHOLE].clone())[:_SHOWN_WHOLE]
    return DrawnBlock(block, tuple(codes), conditions, labels, pictures, first)


def _write_images(names: Sequence[str], stored: Tensor, spec: DataSpec, out: Path) -> Tensor:
    """Write images [N, C, H, W], stored values, and return their composites, uint8 [N, 3, H, W]."""
    unit = spec.to_unit(stored)
    pictures = composite(unit, spec)
    outputs: list[Output] = []
    for name, each, values, picture in zip(names, unit, stored, pictures, strict=True):
        outputs += plain_outputs(name, Filled(each, values, picture, spec), out)
    with BackgroundWriter[None](out) as writer:
        for start in range(0, len(outputs), _FILES):
            writer.submit(outputs[start : start + _FILES], None)
            list(writer.finished())
        list(writer.finished(wait=True))
    return pictures


def write_samples_json(sampler: ImageSampler, drawn: Sequence[DrawnBlock], sampling: Sampling, out: Path) -> None:
    """Write `samples.json` and, for images with several components, the table of conditions that makes them a data set."""
    spec = sampler.spec
    names = [name for part in drawn for name in part.block.names]
    rows = torch.cat([part.conditions for part in drawn])
    images = [_described(part, row, sampler) for part in drawn for row in range(len(part.block.names))]
    content = {**sampler.origin(sampling), "images": images}
    write_text(out / "samples.json", json.dumps(content, indent=1) + "\n")
    if len(spec.components) > 1 and not spec.is_colour:
        conditional = not bool(rows.isnan().all())
        with write_atomically(out / IMAGES / TABLE) as temporary:
            given = (spec.condition_names, rows) if conditional else ((), rows[:, :0])
            write_table(temporary, names, "test", *given)


def write_all_codes(sampler: Sampler, drawn: Sequence[DrawnBlock], path: Path) -> None:
    """Write the codes of all images to one file."""
    codes = tuple(torch.cat(level) for level in zip(*(part.codes for part in drawn), strict=True))
    names = tuple(name for part in drawn for name in part.block.names)
    labels, rows = torch.cat([part.labels for part in drawn]), torch.cat([part.conditions for part in drawn])
    content = CodesFile(codes, names, labels, rows, sampler.pipeline.digest, sampler.classes)
    write_codes(path, content, sampler.pipeline.tokenizer)


def plain_grid(sampler: ImageSampler, drawn: Sequence[DrawnBlock], columns: int) -> Image.Image:
    """The first images in rows of `columns`, each with its conditioning above it; see also `_with_components`."""
    pictures = torch.cat([part.pictures for part in drawn])[:MOST_SHOWN]
    captions = [_caption(part, row, sampler) for part in drawn for row in range(len(part.pictures))]
    names = ", ".join([*(["class"] if sampler.classes else []), *sampler.condition_names])
    rows = [slice(start, start + columns) for start in range(0, len(pictures), columns)]
    captioned = any(captions)
    sheets = [rows_figure([(names if captioned else "", pictures[row])], titles=captions[row] if captioned else ()) for row in rows]
    labelled = [(name, image) for part in drawn for name, image in zip(part.block.names, part.images, strict=False)]
    return _with_components(stacked(sheets), labelled[:_SHOWN_WHOLE], sampler.spec)


def sweep_grid(sampler: ImageSampler, drawn: Sequence[DrawnBlock], sweep: Sweep) -> Image.Image:
    """One row per sample and one column per value: only the condition changes along a row. See also `_with_components`."""
    titles = [f"{sweep.name} {value:g}" for value in sweep.values]
    samples = torch.stack([part.pictures for part in drawn], dim=1)
    sheet = rows_figure([(f"sample {row}", pictures) for row, pictures in enumerate(samples)], titles=titles)
    return _with_components(sheet, [(title, part.images[0]) for title, part in zip(titles, drawn, strict=True)], sampler.spec)


def _with_components(sheet: Image.Image, labelled: Sequence[tuple[str, Tensor]], spec: DataSpec) -> Image.Image:
    """The sheet; where composites leave components out, with panels of stored images [C, H, W] below it."""
    if composite_shows_all(spec):
        return sheet
    return stacked([sheet, overview([(label, ShownImages(spec.to_unit(image[None]))) for label, image in labelled], spec)])


def _described(part: DrawnBlock, row: int, sampler: ImageSampler) -> dict[str, Any]:
    """An image's name, number, known conditions and class, as plain values."""
    values = zip(sampler.spec.condition_names, part.conditions[row].tolist(), strict=True)
    label = int(part.labels[row])
    return {
        "name": part.block.names[row],
        "number": part.block.first + row,
        "conditions": {name: value for name, value in values if not math.isnan(value)},
        "class": None if label < 0 else sampler.classes[label],
    }


def _caption(part: DrawnBlock, row: int, sampler: ImageSampler) -> str:
    """The conditioning of an image in short; empty if it is unconditional."""
    described = _described(part, row, sampler)
    known = described["conditions"]
    values = [f"{known[name]:g}" if name in known else "?" for name in sampler.spec.condition_names] if known else []
    return ", ".join(([described["class"]] if described["class"] else []) + values)
