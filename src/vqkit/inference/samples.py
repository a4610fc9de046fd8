"""New images as files: drawn block by block, laid out as a data set, with a grid to look at.

out/images/                       the pictures, laid out as by `image_io.pictures.image_files`, and the table of conditions where
                                  they have several components: a data set again
out/grid.png                      the first of them at a glance; a column a value where a condition is swept
out/samples.json                  the prior, the settings, and each image's number, conditions and class
out/codes.safetensors             their codes, if asked for
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

from vqkit.core.atomic import write_atomically, write_text
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import align_conditions, shuffled_indices
from vqkit.errors import DataError
from vqkit.image_io.pictures import BACKGROUND, composite, image_files, rows_figure, save_pictures
from vqkit.image_io.tables import TABLE, write_table
from vqkit.inference.image_sampler import ImageSampler, Labels
from vqkit.inference.pipeline import Conditions
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Codes
from vqkit.interfaces.priors import Advance, Sampling
from vqkit.storage.code_files import CodesFile, write_codes

IMAGES, GRID, CODES = "images", "grid.png", "codes.safetensors"
MOST_SHOWN = 64
"""Images in the grid, or rows in that of a sweep, however many are drawn."""
_BLOCK = 1024
"""Images that are held in memory at once."""


class Block(NamedTuple):
    """Images that are drawn together: their names, the number of the first, and what the prior is told of all or of each."""

    names: tuple[str, ...]
    first: int
    conditions: Conditions
    labels: Labels | None


class Sweep(NamedTuple):
    """A condition and the values that it takes, one after the other."""

    name: str
    values: tuple[float, ...]


class DrawnBlock(NamedTuple):
    """A block as it came out: `codes`, `conditions` and `labels` as in `Samples`, and the composites of its first images."""

    block: Block
    codes: Codes
    conditions: Tensor
    labels: Tensor
    pictures: Tensor


def plain_blocks(count: int, conditions: Mapping[str, float | Tensor], labels: Tensor | str | None) -> list[Block]:
    """Blocks of `count` images; conditions and labels are one for all or, as tensors, one each."""
    blocks = []
    for start in range(0, count, _BLOCK):
        part = slice(start, min(count, start + _BLOCK))
        named = {name: value[part].tolist() if isinstance(value, Tensor) else value for name, value in conditions.items()}
        names = tuple(f"sample_{number:05d}" for number in range(part.start, part.stop))
        blocks.append(Block(names, start, named, labels[part].tolist() if isinstance(labels, Tensor) else labels))
    return blocks


def sweep_blocks(count: int, sweep: Sweep, conditions: Mapping[str, float], label: str | None) -> list[Block]:
    """A block of `count` images for each value: the same numbers, and so the same noise, in all of them."""
    return [
        Block(tuple(f"{sweep.name}_{value:g}_{row:05d}" for row in range(count)), 0, {**conditions, sweep.name: value}, label)
        for value in sweep.values
    ]


def known_of_test_set(sampler: ImageSampler, count: int) -> tuple[dict[str, float | Tensor], Tensor | None, str]:
    """Conditions [count] by name and labels [count] of test images, over and over, and the name of the data set.

    Only what the prior was trained with. Raises `DataError` when the data set is not there.
    """
    try:
        if sampler.data is None:
            raise DataError(f"The prior {sampler.path} does not name the data set that it was trained on.", "")
        split = open_dataset(sampler.data).split("test")
    except DataError as error:
        raise DataError(
            f"The conditions of the test set cannot be had: {error.message}",
            "Name what to draw with --condition or --class, or use --mode unconditional.",
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
    """Draw the blocks and write their pictures below `out`.

    Raises as `ImageSampler.sample` does, and `OSError` when it cannot write.
    """
    drawn = []
    for block in blocks:
        count = len(block.names)
        samples = sampler.sample(count, block.conditions, block.labels, sampling, batch_size, advance, block.first)
        pictures: dict[Path, Image.Image] = {}
        for name, image in zip(block.names, samples.images, strict=True):
            pictures |= image_files(image, name, out / IMAGES, sampler.spec)
        save_pictures(pictures)
        shown = composite(samples.images[:MOST_SHOWN], sampler.spec)
        drawn.append(DrawnBlock(block, samples.codes, samples.conditions, samples.labels, shown))
    return drawn


def write_samples_json(sampler: ImageSampler, drawn: Sequence[DrawnBlock], sampling: Sampling, out: Path) -> None:
    """Write what the images are: `samples.json`, and beside several components the table that makes them a data set."""
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
    """The first images in rows of `columns`, each with what the prior was told above it."""
    pictures = torch.cat([part.pictures for part in drawn])[:MOST_SHOWN]
    captions = [_caption(part, row, sampler) for part in drawn for row in range(len(part.pictures))]
    names = ", ".join([*(["class"] if sampler.classes else []), *sampler.condition_names])
    rows = [slice(start, start + columns) for start in range(0, len(pictures), columns)]
    captioned = any(captions)
    sheets = [rows_figure([(names if captioned else "", pictures[row])], titles=captions[row] if captioned else ()) for row in rows]
    return _stacked(sheets)


def sweep_grid(drawn: Sequence[DrawnBlock], sweep: Sweep) -> Image.Image:
    """A row a sample and a column a value: along a row only the condition changes."""
    titles = [f"{sweep.name} {value:g}" for value in sweep.values]
    samples = torch.stack([part.pictures for part in drawn], dim=1)
    return rows_figure([(f"sample {row}", pictures) for row, pictures in enumerate(samples)], titles=titles)


def _stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Sheets one below the other."""
    size = (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets))
    stacked, top = Image.new("RGB", size, BACKGROUND), 0
    for sheet in sheets:
        stacked.paste(sheet, (0, top))
        top += sheet.height
    return stacked


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
    """What the prior was told about an image, in short; empty if nothing."""
    described = _described(part, row, sampler)
    known = described["conditions"]
    values = [f"{known[name]:g}" if name in known else "?" for name in sampler.spec.condition_names] if known else []
    return ", ".join(([described["class"]] if described["class"] else []) + values)
