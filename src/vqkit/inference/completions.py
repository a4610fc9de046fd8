"""Several completions of partly observed images, as files: whole images drawn from a prior that is conditioned on the kept part.

Below the output directory, K images for each input, the best first (see `ranking`), written like the input (see
`vqkit.image_io.originals`): `{name}_1`, `{name}_2`, ... And beside them

completions/{name}.png        the input, the first completions, their uncertainty, and the original where the source holds it
uncertainty/{name}.png        greyscale: black where completions agree, white where a shape is present in half of them
completions.json              the negative log-likelihood of each completion in nats, its expected error, how they are ranked, and
                              the sampling settings

Where the image was kept, the values of every completion are those of the source, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from vqkit.core.atomic import write_text
from vqkit.image_io.background import BackgroundWriter
from vqkit.image_io.inputs import Item
from vqkit.image_io.originals import Filled, Output
from vqkit.image_io.pictures import composite, save_picture, to_pil
from vqkit.image_io.reading import InputImage, ReadOptions, check_not_whole, read_images
from vqkit.inference.figures import completions_figure
from vqkit.inference.inpaint import OutputGuard, batches_of_one_size
from vqkit.inference.pipeline import Conditions
from vqkit.inference.ranking import DEFAULT_RANK, Rank
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import DataSpec
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Advance, Sampling

FIGURE, UNCERTAINTY, RECORD = "completions", "uncertainty", "completions.json"
_BLOCK = 1024
"""Completions that are held in memory at once."""


@dataclass(frozen=True)
class CompletionRequest:
    """What to draw for each image: `num_samples` completions given named `conditions`; for the rest see `Sampler.complete`."""

    num_samples: int
    conditions: Conditions = field(default_factory=dict)
    sampling: Sampling = DEFAULT_SAMPLING
    batch_size: int | None = None
    rank: Rank = DEFAULT_RANK


class Completed(NamedTuple):
    """The result for one image: its name, the figure, and by name of its completions, the best first, their `nll` in nats and their
    `expected_error` (see `ranking`), NaN for a single one."""

    name: str
    nll: dict[str, float]
    expected_error: dict[str, float]
    figure: Path


def complete_items(
    sampler: Sampler,
    items: list[Item],
    out: Path,
    reading: ReadOptions,
    request: CompletionRequest,
    skip: Callable[[str, str], None],
    advance: Advance | None = None,
    first: int = 0,
) -> Iterator[Completed]:
    """Complete the images of all items and write them below `out`, yielding each image when it is done.

    `skip` is called with the path of an image that cannot be used and the reason; `advance` with numbers of completions; `first`:
    number of the first item, which decides the noise: an image has the same whether images before it can be used or not. Raises as
    `Sampler.complete` does, `DataError` when no image can be used or an output would replace an input, and `OSError`.
    """
    guard = OutputGuard(items, out, sampler.spec, reading)
    size = max(1, _BLOCK // max(1, request.num_samples))
    images = read_images(items, sampler.spec, reading, skip, check_not_whole)
    with BackgroundWriter[list[Completed]](out) as writer:
        for batch in (part for run in batches_of_one_size(images, size) for part in _consecutive(run)):
            drawn = sampler.complete(
                torch.stack([entry.image for entry in batch]),
                torch.stack([entry.observed for entry in batch]),
                request.num_samples,
                request.conditions,
                request.sampling,
                request.batch_size,
                advance,
                first + batch[0].number,
                request.rank,
            )
            outputs: list[Output] = []
            results: list[Completed] = []
            of_each = zip(batch, drawn.images, drawn.nll, drawn.expected_error, drawn.uncertainty, strict=True)
            for entry, completions, nll, expected_error, uncertainty in of_each:
                names = completion_names(entry.name, request.num_samples)
                outputs += _outputs(entry, names, completions, nll, uncertainty, sampler.spec, out)
                likelihoods, errors = (dict(zip(names, each.tolist(), strict=True)) for each in (nll, expected_error))
                results.append(Completed(entry.name, likelihoods, errors, out / FIGURE / f"{entry.name}.png"))
            guard.check(output.path for output in outputs)
            writer.submit(outputs, results)
            for finished in writer.finished():
                yield from finished
        for finished in writer.finished(wait=True):
            yield from finished


def _consecutive(batch: Sequence[InputImage]) -> Iterator[list[InputImage]]:
    """The batch in parts whose images have successive numbers."""
    starts = [place for place, image in enumerate(batch) if place == 0 or image.number != batch[place - 1].number + 1]
    for start, stop in zip(starts, [*starts[1:], len(batch)], strict=True):
        yield list(batch[start:stop])


def completion_names(name: str, count: int) -> list[str]:
    """`name_1`, `name_2`, ..., with leading zeros so that they sort."""
    return [f"{name}_{number:0{len(str(count))}d}" for number in range(1, count + 1)]


def _outputs(
    entry: InputImage, names: list[str], completions: Tensor, nll: Tensor, uncertainty: Tensor, spec: DataSpec, out: Path
) -> list[Output]:
    """All files of one image: completions, stored values [K, C, H, W], uncertainty [C, H, W], and the figure."""
    outputs: list[Output] = []
    unit = spec.to_unit(completions)
    together = composite(unit, spec) if entry.original.has_composite else [None] * len(names)
    for name, each, stored, picture in zip(names, unit, completions, together, strict=True):
        outputs += entry.original.outputs(name, Filled(each, stored, picture, spec), entry.observed, out)
    uncertainty_map = (uncertainty.amax(dim=0).clamp_max(1) * 255).round().to(torch.uint8)

    def figure() -> Image.Image:
        return completions_figure(entry.image, entry.observed, entry.present, completions, nll, uncertainty, spec)

    pictures = {
        out / UNCERTAINTY / f"{entry.name}.png": lambda: to_pil(uncertainty_map),
        out / FIGURE / f"{entry.name}.png": figure,
    }
    return outputs + [Output(path, partial(_write_picture, draw, path)) for path, draw in pictures.items()]


def _write_picture(draw: Callable[[], Image.Image], path: Path) -> None:
    save_picture(draw(), path)


def described(completed: Completed, request: CompletionRequest) -> dict[str, Any]:
    """The entry of an image in `completions.json`."""
    entry: dict[str, Any] = {"name": completed.name, "nll": completed.nll}
    if request.num_samples > 1:
        entry["expected_error"] = completed.expected_error
    return entry


def write_completions_json(sampler: Sampler, images: Sequence[Mapping[str, Any]], request: CompletionRequest, out: Path) -> None:
    """Write `completions.json`, of the entries of images."""
    content = {**sampler.origin(request.sampling), "rank": request.rank, "images": list(images)}
    write_text(out / RECORD, json.dumps(content, indent=1) + "\n")
