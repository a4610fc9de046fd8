"""Completions of images larger than the tile:
`python benchmarks/tile_completions.py DIRECTORY [--steps N] [--images N] [--size PIXELS] [--samples K] [--out FILE]`.

Makes images in `DIRECTORY` that have no natural borders: a smooth relief; shapes, where it and another smooth field are high
together; and stripes whose phase drifts, and which are strong inside of the shapes. Trains a small tokenizer of tiles of 32 x 32
pixels on them, and small priors (runs that are there are used as they are). Then completes large images of which the relief is
kept, K times each, in every way that large images can be completed:

pixelcnn, tiles in raster order    each tile is drawn given what those before it have filled in, as observed pixels
masked, tiles in raster order      the same with the prior that draws in any order
masked, shared codes               all tiles draw one grid of codes together, in steps (what `Sampler.complete` does)

and reports for each

border_ratio  of the shapes and the stripes, as in `benchmarks/tiling.py`, also of the truth: how much more neighbouring pixels
              differ across the lines where tiles begin and end than across others
worst_line    the same for the worst line, wherever in the tiles it is
stripes_mse   mean squared error of single answers, of the one that is best by consensus, and of the mean of all
shapes_iou    intersection over union of the same
roughness     mean difference of neighbouring pixels of the stripes, divided by that of the truth: 1 if answers are as sharp
seconds       processor time of all answers
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.machine import describe_machine, describe_versions, publish
from tiling import border_ratio, worst_line
from vqkit.inference.ranking import expected_errors
from vqkit.inference.sampler import Sampler, load_sampler
from vqkit.inference.tile_grid import TileGrid
from vqkit.inference.tile_order import TiledAnswers
from vqkit.interfaces.priors import Sampling

NAMES = ("relief", "shapes", "stripes")
TILE, STRIDE = 32, 4
TOKENIZER = (
    "model.hidden=32",
    "model.inner=32",
    "model.quantizer.num_codes=128",
    "model.quantizer.dim=32",
    "training.precision=fp32",
)
PRIORS = {
    "masked": ("prior.width=96", "prior.layers=4"),
    "pixelcnn": ("prior.channels=64", "prior.layers=6"),
}


def smooth_field(size: int, scale: float, generator: torch.Generator) -> Tensor:
    """White noise smoothed by a Gaussian of `scale` pixels, with mean 0 and deviation 1: float32 [size, size]."""
    frequencies = torch.fft.fftfreq(size)
    squares = frequencies[:, None] ** 2 + torch.fft.rfftfreq(size) ** 2
    noise = torch.fft.rfft2(torch.randn(size, size, generator=generator))
    field = torch.fft.irfft2(noise * torch.exp(-2 * (torch.pi * scale) ** 2 * squares), s=(size, size))
    return (field - field.mean()) / field.std()


def large_image(size: int, generator: torch.Generator) -> Tensor:
    """One image of all components, uint8 [C, size, size]."""
    around = 64  # smooth fields are periodic: their other side is cut off

    def field(scale: float) -> Tensor:
        return smooth_field(size + around, scale, generator)[:size, :size]

    relief = 0.6 * field(3) + 0.8 * field(9)
    shapes = relief + field(5) > 0.5
    columns = torch.arange(float(size)).expand(size, size)
    waves = torch.sin(2 * torch.pi * columns / 12 + 2 * field(12))
    stripes = 0.5 + torch.where(shapes, 0.45, 0.2) * waves
    parts = [(0.5 + relief / 5).clamp(0, 1), shapes.float(), stripes]
    return (torch.stack(parts) * 255).round().to(torch.uint8)


def write_data(path: Path, count: int) -> None:
    """Images of 96 x 96 pixels for training."""
    images = [large_image(96, torch.Generator().manual_seed(number)).permute(1, 2, 0).numpy() for number in range(count)]
    np.savez_compressed(path, x_train=np.stack(images[count // 10 :]), x_test=np.stack(images[: count // 10]))


def train(directory: Path, steps: int) -> None:
    """Train the tokenizer and the priors whose runs are not there yet."""
    directory.mkdir(parents=True, exist_ok=True)
    data = directory / "textures.npz"
    if not data.exists():
        write_data(data, 400)
    given = ["--data", str(data), "--set", f"data.components=[{','.join(NAMES)}]", "--set", f"data.height={TILE}"]
    model = ["--set", "masking.warmup_epochs=2", "--set", "masking.decoder_only=1", *_settings(TOKENIZER)]
    _run(directory / "tokenizer", ["train-vqvae", *given, "--steps", str(2 * steps), *model])
    for name, settings in PRIORS.items():
        chosen = ["--prior", name, "--tokenizer", str(directory / "tokenizer"), "--condition-on", "observed"]
        _run(directory / name, ["train-prior", *chosen, "--steps", str(steps), *_settings(settings)])


def _settings(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _run(out: Path, words: list[str]) -> None:
    if not out.exists():
        subprocess.run([sys.executable, "-m", "vqkit", *words, "--out", str(out)], check=True)


class Task(NamedTuple):
    """Large images as stored [B, C, H, W], what is observed of them, and how many answers are drawn for each."""

    images: Tensor
    observed: Tensor
    each: int


Complete = Callable[[Sampler, Task, Sampling], TiledAnswers]


def tiles_in_raster_order(sampler: Sampler, task: Task, sampling: Sampling) -> TiledAnswers:
    """Tile by tile, whatever the prior."""
    images, observed = (tensor.repeat_interleave(task.each, dim=0) for tensor in task[:2])
    rows = torch.empty(len(images), 0)
    grid = sampler.pipeline.tile_grid(images.shape[2], images.shape[3])
    return sampler._complete_tiles(images, observed, rows, grid, sampling, None, None, 0)


def shared_codes(sampler: Sampler, task: Task, sampling: Sampling) -> TiledAnswers:
    """As `Sampler.complete` does it for this prior."""
    return sampler._complete_large(*task[:2], torch.empty(len(task.images), 0), task.each, sampling, None, None, 0)


WAYS: dict[str, tuple[str, Complete]] = {
    "pixelcnn, tiles in raster order": ("pixelcnn", tiles_in_raster_order),
    "masked, tiles in raster order": ("masked", tiles_in_raster_order),
    "masked, shared codes": ("masked", shared_codes),
}


def measure(sampler: Sampler, complete: Complete, task: Task, overlap: int) -> dict[str, Any]:
    """The figures of one way to complete."""
    sampler.pipeline.tile_overlap = overlap
    started = time.process_time()
    answers = complete(sampler, task, Sampling(seed=0))
    seconds = time.process_time() - started
    repeated = [tensor.repeat_interleave(task.each, dim=0) for tensor in task[:2]]
    final = sampler._finish(answers.expected, *repeated)
    unit = sampler.spec.to_unit(final).unflatten(0, (len(task.images), task.each))
    truth = sampler.spec.to_unit(task.images)
    errors = [
        expected_errors(each[None], missing[None], sampler.spec)[0] for each, missing in zip(unit, ~task.observed, strict=True)
    ]
    best = unit[torch.arange(len(unit)), torch.stack(errors).argmin(dim=1)]
    kinds = {"single": unit, "consensus": best[:, None], "mean": unit.mean(dim=1, keepdim=True)}
    grid = sampler.pipeline.tile_grid(*task.images.shape[2:])
    return {
        "overlap": overlap,
        "seconds": round(seconds, 1),
        **seams(unit.flatten(0, 1), grid),
        "stripes_mse": {name: round(mse(each[:, :, 2], truth[:, None, 2]), 4) for name, each in kinds.items()},
        "shapes_iou": {name: round(iou(each[:, :, 1], truth[:, None, 1]), 4) for name, each in kinds.items()},
        "roughness": round(roughness(unit[:, :, 2]) / roughness(truth[:, 2]), 3),
    }


def seams(images: Tensor, grid: TileGrid) -> dict[str, dict[str, float]]:
    """Both ratios of the components of images [N, C, H, W] that are not kept."""
    return {
        figure.__name__: {name: round(figure(images[:, number], grid, STRIDE), 3) for number, name in enumerate(NAMES) if number}
        for figure in (border_ratio, worst_line)
    }


def mse(answers: Tensor, truth: Tensor) -> float:
    """Mean squared error."""
    return float((answers - truth).square().mean())


def iou(answers: Tensor, truth: Tensor) -> float:
    """Intersection over union of what is above one half."""
    found, there = answers > 0.5, (truth > 0.5).expand_as(answers)
    return float((found & there).sum() / (found | there).sum())


def roughness(images: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels in a row."""
    return float(images.diff(dim=-1).abs().mean())


def main() -> None:
    """Parse the arguments, train what is missing, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--steps", type=int, default=400, help="training steps of a prior; twice as many of the tokenizer")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--overlaps", type=int, nargs="+", default=[TILE // 4, TILE // 2])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    train(arguments.directory, arguments.steps)
    images = [large_image(arguments.size, torch.Generator().manual_seed(10**6 + number)) for number in range(arguments.images)]
    observed = torch.zeros(len(images), len(NAMES), arguments.size, arguments.size, dtype=torch.bool)
    observed[:, 0] = True
    task = Task(torch.stack(images), observed, arguments.samples)
    samplers = {name: load_sampler(arguments.directory / name, device="cpu") for name in PRIORS}
    unit = next(iter(samplers.values())).spec.to_unit(task.images)
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "versions": describe_versions(),
        "training_steps": arguments.steps,
        "images": [*task.images.shape],
        "samples": arguments.samples,
        "truth": {
            overlap: seams(unit, TileGrid(arguments.size, arguments.size, TILE, TILE, overlap)) for overlap in arguments.overlaps
        },
        "ways": {
            name: [measure(samplers[prior], complete, task, overlap) for overlap in arguments.overlaps]
            for name, (prior, complete) in WAYS.items()
        },
    }
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
