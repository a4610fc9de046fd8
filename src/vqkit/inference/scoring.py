"""Scores of files: how odd each image is beside validation images of the training data, and where.

An image larger than the model's tile is scored tile by tile: each tile is an image of its own, whose name says where it begins.
Tiles of which nothing is present are left out. Below the output directory

scores.csv              a row for each image, the oddest first: every score, and the share of validation images that are as odd
scores.json             the same with what it was measured by
figures/{name}.png      of the oddest images: the image, its reconstruction, and maps of the bits and of the error
maps/{name}_bits.tif    float32, the bits of the place that each pixel is in (where maps are asked for); and {name}_error.tif,
                        the root mean square error of each pixel; NaN where nothing is present
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.core.atomic import write_text
from vqkit.image_io.inputs import Item
from vqkit.image_io.pictures import save_picture
from vqkit.image_io.rasters import write_raster
from vqkit.image_io.reading import InputImage, ReadOptions, read_images
from vqkit.inference.inpaint import OutputGuard, batched
from vqkit.inference.oddity import Oddity, enlarged, measure_oddity
from vqkit.inference.oddity_figure import oddity_figure
from vqkit.inference.oddity_reference import SCORES, OddityReference
from vqkit.inference.pipeline import BATCH_SIZE, check_tile
from vqkit.inference.sampler import Sampler

TABLE, RECORD, FIGURES, MAPS = "scores.csv", "scores.json", "figures", "maps"


@dataclass(frozen=True)
class ScoreRequest:
    """What is written beside the tables: `figures` of so many of the oddest images (None: all), and `maps` of every image."""

    figures: int | None = 16
    maps: bool = False
    batch_size: int = BATCH_SIZE


class Scored(NamedTuple):
    """One image: the `bits` of all its codes, each of `SCORES`, and the share of validation images that score at least as high."""

    name: str
    bits: float
    scores: dict[str, float]
    shares: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "bits_per_image": self.bits, "scores": self.scores, "share_as_odd": self.shares}


class _Shown(NamedTuple):
    """What a figure of one image is made of."""

    scored: Scored
    image: Tensor
    found: Oddity


def score_items(
    sampler: Sampler,
    reference: OddityReference,
    items: list[Item],
    out: Path,
    reading: ReadOptions,
    request: ScoreRequest,
    skip: Callable[[str, str], None],
    advance: Callable[[int], None],
) -> list[Scored]:
    """Score the images of all items, the oddest first, and write tables, figures and maps below `out`.

    `skip` is called with the path of an image that cannot be used and the reason, `advance` with 1 for each image. Raises
    `DataError` when none can be used, or a figure or map would replace an input, and `OSError` when it cannot write.
    """
    spec, guard = sampler.spec, OutputGuard(items, out, sampler.spec, reading)
    scored: list[Scored] = []
    oddest: list[_Shown] = []

    for batch in batched(_tiles(sampler, items, reading, skip, advance), request.batch_size):
        images = spec.to_unit(torch.stack([entry.image for entry in batch]))
        found = measure_oddity(sampler, images, torch.stack([entry.present for entry in batch]))
        for number, (entry, each) in enumerate(zip(batch, _scored(batch, found, reference), strict=True)):
            one = Oddity(*(part[number : number + 1] for part in found))
            scored.append(each)
            if request.maps:
                _write_maps(one, entry.name, sampler, out, guard)
            oddest.append(_Shown(each, images[number], one))
        if request.figures is not None:
            oddest = sorted(oddest, key=_oddness)[: request.figures]
        else:
            _write_figures(oddest, sampler, reference, out, guard)
            oddest = []
    _write_figures(oddest, sampler, reference, out, guard)
    scored.sort(key=lambda each: (-each.scores["combined"], each.name))
    write_text(out / TABLE, _table(scored))
    write_text(out / RECORD, json.dumps(record(sampler, reference, scored), indent=1) + "\n")
    return scored


def record(sampler: Sampler, reference: OddityReference, scored: Sequence[Scored]) -> dict[str, Any]:
    """The content of `scores.json`."""
    return {
        "prior": str(sampler.path),
        "prior_digest": sampler.digest,
        "tokenizer": str(sampler.pipeline.path),
        "tokenizer_digest": sampler.pipeline.digest,
        "validation_images": reference.images,
        "images": [each.to_json() for each in scored],
    }


def _tiles(
    sampler: Sampler, items: list[Item], reading: ReadOptions, skip: Callable[[str, str], None], advance: Callable[[int], None]
) -> Iterator[InputImage]:
    """The images of all items, and tiles of those that are larger than a tile; see `score_items` for what is called and raised."""
    spec = sampler.spec

    def check(image: InputImage) -> None:
        if image.size[0] < spec.height or image.size[1] < spec.width:
            check_tile(image.size, spec)

    for image in read_images(items, spec, reading, skip, check):
        grid = sampler.pipeline.tile_grid(*image.size)
        for top, left in itertools.product(grid.tops, grid.lefts):
            place = (slice(None), slice(top, top + spec.height), slice(left, left + spec.width))
            name = image.name if grid.count == 1 else f"{image.name}_y{top:05d}_x{left:05d}"
            image_part, present = image.image[place], image.present[place]
            tile = image._replace(name=name, image=image_part, present=present, observed=image.observed[place])
            if bool(tile.present.any()):
                yield tile
        advance(1)


def _scored(batch: Sequence[InputImage], found: Oddity, reference: OddityReference) -> list[Scored]:
    scores = reference.scores(found.signals())
    shares = {name: reference.share_above(name, values) for name, values in scores.items()}
    return [
        Scored(entry.name, bits, *({name: float(values[number]) for name, values in each.items()} for each in (scores, shares)))
        for number, (entry, bits) in enumerate(zip(batch, found.total_bits.tolist(), strict=True))
    ]


def _oddness(shown: _Shown) -> tuple[float, str]:
    return -shown.scored.scores["combined"], shown.scored.name


def _write_figures(chosen: Sequence[_Shown], sampler: Sampler, reference: OddityReference, out: Path, guard: OutputGuard) -> None:
    tops = reference.usual_largest("bits"), reference.usual_largest("error")
    for scored, image, found in chosen:
        path = out / FIGURES / f"{scored.name}.png"
        guard.check([path])
        save_picture(oddity_figure(image, found, _lines(scored), tops, sampler.spec), path)


def _lines(scored: Scored) -> list[str]:
    """What stands beside the image of a figure."""
    lines = [f"{name} {scored.scores[name]:.3g} ({scored.shares[name]:.1%})" for name in reversed(SCORES)]
    return [scored.name.rpartition("/")[2], *lines, "(validation images", "that are as odd)"]


def _write_maps(found: Oddity, name: str, sampler: Sampler, out: Path, guard: OutputGuard) -> None:
    places = enlarged(torch.where(found.places, found.surprise, torch.nan), sampler.spec)
    errors = torch.where(found.present.any(dim=1), found.root_errors(), torch.nan)
    for kind, values in (("bits", places), ("error", errors)):
        path = out / MAPS / f"{name}_{kind}.tif"
        guard.check([path])
        write_raster(path, values.float().numpy())


def _table(scored: Sequence[Scored]) -> str:
    """The content of `scores.csv`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", "bits_per_image", *SCORES, *(f"share_{name}" for name in SCORES)])
    for each in scored:
        row = [each.bits, *(each.scores[name] for name in SCORES), *(each.shares[name] for name in SCORES)]
        writer.writerow([each.name, *(f"{value:.6g}" for value in row)])
    return text.getvalue()
