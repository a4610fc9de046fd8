"""How well scores of oddity find faults and other data: `python benchmarks/oddity.py PRIOR [--against DATA] [--out FILE]`.

Trains nothing: PRIOR is a run of train-prior. Reported, as AUROC of every score with its standard error, is how well held-out
images are told from

faults     the same images with one fault each, see `common/corruptions.py`; of these also how well each map tells the places of the
           fault, where a pixel was changed, from all other places of the same images: bits (in the prior's order), surprise (given
           all other codes) and error
against    images of other data (`--against`, may be repeated), whose components may have other names: they are taken in the order
           in which they come, in units of their own ranges, and cut or enlarged to the size of a tile

smooth     with `--smooth N`, the same images, averaged over N x N pixels: simple images, which are likely and not usual

and, with `--tokenizer`, where the prior's tokenizer is now. `--figures DIR` writes the figures of the first images of each kind.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from common.corruptions import FAULTS, smoothed, with_fault
from common.machine import describe_machine, describe_versions, publish
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import choose_split
from vqkit.evaluation.against import compare
from vqkit.evaluation.auroc import auroc
from vqkit.evaluation.held_out import prior_data
from vqkit.evaluation.usual_images import usual_images
from vqkit.image_io.pictures import save_picture
from vqkit.inference.oddity import measure_oddity, places_of
from vqkit.inference.oddity_figure import oddity_figure
from vqkit.inference.oddity_reference import SCORES, OddityReference
from vqkit.inference.sampler import Sampler, load_sampler
from vqkit.interfaces import fully_observed, where_present

BATCH = 64
FIGURES = 4


def held_out(sampler: Sampler, count: int) -> tuple[Tensor, Tensor]:
    """Test images in units of the range, [N, C, H, W], and where they are present."""
    split = choose_split(open_dataset(prior_data(sampler)), "test", count)
    batch = split.batch(torch.arange(len(split)))
    present = fully_observed(batch.images, batch.present)
    return where_present(sampler.spec.to_unit(batch.images), present), present


def other_images(data: str, sampler: Sampler, count: int) -> Tensor:
    """Test images of other data as the model takes them, in units of their own ranges, float [N, C, H, W]."""
    spec, dataset = sampler.spec, open_dataset(data)
    split = choose_split(dataset, "test", count)
    batch = split.batch(torch.arange(len(split)))
    images = where_present(dataset.spec.to_unit(batch.images), batch.present)
    wanted = len(spec.components)
    images = images.repeat(1, -(-wanted // images.shape[1]), 1, 1)[:, :wanted]
    factor = max(spec.height / images.shape[2], spec.width / images.shape[3])
    if factor > 1:
        size = [max(round(images.shape[2] * factor), spec.height), max(round(images.shape[3] * factor), spec.width)]
        images = F.interpolate(images, size, mode="bilinear", antialias=True)
    top, left = (images.shape[2] - spec.height) // 2, (images.shape[3] - spec.width) // 2
    return images[:, :, top : top + spec.height, left : left + spec.width].contiguous()


def scored(sampler: Sampler, reference: OddityReference, images: Tensor, present: Tensor) -> dict[str, Tensor]:
    """Each of `SCORES` of every image."""
    parts = [
        reference.scores(measure_oddity(sampler, *chunk).signals())
        for chunk in zip(images.split(BATCH), present.split(BATCH), strict=True)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in SCORES}


def located(sampler: Sampler, images: Tensor, others: Tensor, present: Tensor) -> dict[str, float]:
    """AUROC of each map for the places of faults, over all places of all images `others`, which were made of `images`."""
    changed: list[Tensor] = []
    maps: dict[str, list[Tensor]] = {"bits": [], "surprise": [], "error": []}
    for before, after, where in zip(images.split(BATCH), others.split(BATCH), present.split(BATCH), strict=True):
        found = measure_oddity(sampler, after, where)
        shape = found.places.shape[1:]
        error = F.adaptive_avg_pool2d(found.errors.mean(dim=1), shape)
        for name, values in {"bits": found.bits, "surprise": found.surprise, "error": error}.items():
            maps[name].append(values[found.places])
        changed.append(places_of(before != after, (shape[0], shape[1]))[found.places])
    fault = torch.cat(changed)
    return {name: auroc(torch.cat(parts)[~fault], torch.cat(parts)[fault]).area for name, parts in maps.items()}


def draw(sampler: Sampler, reference: OddityReference, images: Tensor, present: Tensor, name: str, folder: Path) -> None:
    """Figures of the first images of a kind."""
    tops = reference.usual_largest("bits"), reference.usual_largest("error")
    for number in range(min(FIGURES, len(images))):
        one = slice(number, number + 1)
        found = measure_oddity(sampler, images[one], present[one])
        scores = reference.scores(found.signals())
        lines = [f"{name} {number}", *(f"{score} {float(values):.3g}" for score, values in scores.items())]
        save_picture(oddity_figure(images[number], found, lines, tops, sampler.spec), folder / f"{name}_{number}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior")
    parser.add_argument("--tokenizer")
    parser.add_argument("--against", action="append", default=[], help="other data; may be repeated")
    parser.add_argument("--faults", nargs="*", choices=list(FAULTS), help="by default all where components can be taken apart")
    parser.add_argument("--smooth", type=int, help="an odd number of pixels")
    parser.add_argument("--images", type=int, default=1000, help="test images of each kind, at most")
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sampler = load_sampler(arguments.prior, arguments.tokenizer)
    reference = usual_images(sampler)
    images, present = held_out(sampler, arguments.images)
    usual = scored(sampler, reference, images, present)
    faults = list(FAULTS) if arguments.faults is None else arguments.faults
    kinds = {name: with_fault(name, images, sampler.spec) for name in faults}
    kinds |= {Path(data).name: other_images(data, sampler, arguments.images) for data in arguments.against}
    rows: list[dict[str, Any]] = []
    if arguments.smooth:
        kinds["smooth"] = smoothed(images, arguments.smooth)
    for name, others in kinds.items():
        where = present if name in (*faults, "smooth") else torch.ones_like(others, dtype=torch.bool)
        found = scored(sampler, reference, others, where)
        row = {"kind": name, "images": len(images), "other_images": len(others)}
        rows.append({**row, "scores": [asdict(compare(score, usual[score], found[score])) for score in SCORES]})
        if name in faults:
            rows[-1]["places"] = located(sampler, images, others, where)
        if arguments.figures is not None:
            draw(sampler, reference, others, where, name, arguments.figures)
    header = {"prior": type(sampler.prior).__name__, "validation_images": reference.images}
    publish({**header, "machine": describe_machine(), "versions": describe_versions(), "kinds": rows}, arguments.out)


if __name__ == "__main__":
    main()
