"""Several answers to one hole, as files: whole images drawn from a prior that sees what is kept.

Below the output directory, K images for each that was read, the most likely first, laid out as `image_io.pictures.image_files`
does: `{name}_1`, `{name}_2`, ... And beside them

completions/{name}.png        what was given, the first answers, where they differ, and the truth where the source holds it
uncertainty/{name}.png        greyscale: black where the answers agree, white where half of them have a shape and half have not
completions.json              the negative log-likelihood of each answer in nats, and what it was drawn with

Where the image was kept, the values of every answer are those of the source, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from vqkit.core.atomic import write_text
from vqkit.image_io.pictures import composite, image_files, rows_figure, save_pictures, to_pil
from vqkit.image_io.reading import InputImage, Item, ReadOptions, read_images
from vqkit.inference.inpaint import batched, files_to_keep, refuse_inputs, views
from vqkit.inference.pipeline import Conditions
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import DataSpec
from vqkit.interfaces.priors import Sampling

FIGURE, UNCERTAINTY, RECORD = "completions", "uncertainty", "completions.json"
MOST_SHOWN = 8
"""Answers in a figure, however many are drawn."""
_BLOCK = 1024
"""Answers that are held in memory at once."""


class Completed(NamedTuple):
    """What came of one image: its name, those of its answers with their nats, the most likely first, and the figure."""

    name: str
    nll: dict[str, float]
    figure: Path


def complete_items(
    sampler: Sampler,
    items: list[Item],
    out: Path,
    request: ReadOptions,
    skip: Callable[[str, str], None],
    num_samples: int,
    conditions: Conditions | None,
    sampling: Sampling,
    batch_size: int | None = None,
    advance: Callable[[float], None] | None = None,
) -> Iterator[Completed]:
    """Draw `num_samples` answers for the images of all items and write them below `out`, yielding each image when it is done.

    `skip` is called with the path of an image that cannot be used and the reason; `advance` is told of answers. Raises as
    `Sampler.complete` does, `DataError` when no image can be used or an output would replace an input, and `OSError`.
    """
    inputs = files_to_keep(items, out, sampler.spec)
    first = 0
    for batch in batched(read_images(items, sampler.spec, request, False, skip), max(1, _BLOCK // max(1, num_samples))):
        images = torch.stack([entry.image for entry in batch])
        observed = torch.stack([entry.observed for entry in batch])
        drawn = sampler.complete(images, observed, num_samples, conditions, sampling, batch_size, advance, first)
        first += len(batch)
        for entry, answers, nll, uncertainty in zip(batch, *drawn[:3], strict=True):
            names = answer_names(entry.name, num_samples)
            pictures: dict[Path, Image.Image] = {}
            for name, image in zip(names, answers, strict=True):
                pictures |= image_files(image, name, out, sampler.spec)
            map_ = (uncertainty.amax(dim=0) * 255).round().to(torch.uint8)
            pictures[out / UNCERTAINTY / f"{entry.name}.png"] = to_pil(map_)
            path = out / FIGURE / f"{entry.name}.png"
            pictures[path] = figure(entry, answers, nll, map_, sampler.spec)
            refuse_inputs(pictures, inputs, out)
            save_pictures(pictures)
            yield Completed(entry.name, dict(zip(names, nll.tolist(), strict=True)), path)


def answer_names(name: str, count: int) -> list[str]:
    """`name_1`, `name_2`, ...; of one length, so that they sort."""
    return [f"{name}_{number:0{len(str(count))}d}" for number in range(1, count + 1)]


def figure(entry: InputImage, answers: Tensor, nll: Tensor, uncertainty: Tensor, spec: DataSpec) -> Image.Image:
    """What was given (hatched where nothing was), the first answers uint8 [K, C, H, W], where they differ, and the truth if known.

    `nll` float32 [K] of the answers; `uncertainty` uint8 [H, W].
    """
    shown = answers[:MOST_SHOWN]
    pictures = [views(entry.image, entry.observed, spec)[:1], composite(shown, spec), uncertainty.expand(1, 3, -1, -1)]
    titles = ["given", *(f"{value:.1f} nats" for value in nll[: len(shown)].tolist()), "uncertainty"]
    if bool(entry.present.all()):
        pictures.append(composite(entry.image[None], spec))
        titles.append("truth")
    return rows_figure([("", torch.cat(pictures))], titles=titles)


def write_record(sampler: Sampler, completed: Sequence[Completed], sampling: Sampling, out: Path) -> None:
    """Write `completions.json`."""
    images = [{"name": each.name, "nll": each.nll} for each in completed]
    write_text(out / RECORD, json.dumps({**sampler.origin(sampling), "images": images}, indent=1) + "\n")
