"""Seams in images larger than the tile: `python benchmarks/tiling.py RUN IMAGE --keep NAMES [--overlaps N ...] [--out FILE]`.

Fills in the components of the middle `--size` pixels of a large image that are not kept, for each overlap, and reports

border_ratio  mean absolute difference of neighbouring pixels across the lines where tiles begin and end, divided by the mean
              inside, at the same places of the code grid: the borders of codes, if they show, are also inside of tiles
worst_line    the same for the worst line of all: lines are averaged that are as far from the beginnings of tiles. It finds seams
              wherever they are
truth         both for the original, whose content has no tiles: how far they are from 1 by chance
shift_rms     root mean square difference from the result of tiles that begin half a tile later, in units of the range, a tile or
              more from the border of the image
error_rms     root mean square error against the original, in units of the range, to compare `shift_rms` with
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vqkit
from common.machine import describe_machine, describe_versions, publish
from vqkit.image_io.rasters import Window, open_raster
from vqkit.inference.pipeline import Pipeline
from vqkit.inference.tile_grid import TileGrid


def line_differences(image: Tensor) -> Tensor:
    """Mean absolute difference of columns x and x + 1 of an image [C, H, W], float [W - 1]."""
    return (image[..., 1:] - image[..., :-1]).abs().mean(dim=(0, 1))


def directions(image: Tensor, grid: TileGrid) -> list[tuple[Tensor, tuple[int, ...], int]]:
    """For both directions: the differences between lines, the beginnings of tiles, and the size of tiles."""
    return [
        (line_differences(image), grid.lefts, grid.tile_width),
        (line_differences(image.transpose(1, 2)), grid.tops, grid.tile_height),
    ]


def border_ratio(image: Tensor, grid: TileGrid, cell: int) -> float:
    """Differences across lines where a tile begins or ends, divided by those of other lines at the same place of a code's cell."""
    ratios = []
    for differences, starts, tile in directions(image, grid):
        lines = torch.arange(len(differences))
        borders = torch.tensor([line for start in starts for line in (start - 1, start + tile - 1) if 0 <= line < len(lines)])
        is_border = torch.isin(lines, borders)
        for line in borders.unique().tolist():
            alike = ~is_border & (lines % cell == line % cell)
            ratios.append(differences[line] / differences[alike].mean())
    return float(torch.stack(ratios).mean())


def worst_line(image: Tensor, grid: TileGrid, cell: int) -> float:
    """The largest mean difference of lines at one distance from the beginnings of tiles, divided by the mean of lines that are at
    the same place of a code's cell."""
    worst = 0.0
    for differences, _, tile in directions(image, grid):
        step = tile - grid.overlap
        means = differences[: len(differences) // step * step].view(-1, step).mean(dim=0)
        worst = max(worst, *(float(means[place] / means[place % cell :: cell].mean()) for place in range(step)))
    return worst


def measure(pipeline: Pipeline, image: Tensor, keep: list[str], overlap: int) -> dict[str, Any]:
    """The figures of one overlap, for an image [C, H, W] as stored."""
    spec = pipeline.spec
    kept = torch.zeros(len(spec.components), dtype=torch.bool)
    kept[spec.component_indices(keep)] = True
    unit = spec.to_unit(image[None])
    observed = kept[:, None, None].expand(unit.shape)
    cell = spec.height // pipeline.tokenizer.code_shapes[-1][0]
    pipeline.tile_overlap = overlap
    grid = pipeline.tile_grid(*image.shape[1:])
    expected = pipeline.fill_unit(unit, observed, wanted=~observed)[0, ~kept]
    down, across = ((tile - overlap) // 2 for tile in (spec.height, spec.width))
    moved = unit[..., down:, across:], observed[..., down:, across:]
    shifted = pipeline.fill_unit(*moved, wanted=~moved[1])[0, ~kept]
    inner = (..., slice(spec.height, -spec.height), slice(spec.width, -spec.width))
    truth = unit[0, ~kept]
    return {
        "overlap": overlap,
        "tiles": grid.count,
        "border_ratio": round(border_ratio(expected, grid, cell), 4),
        "worst_line": round(worst_line(expected, grid, cell), 4),
        "truth_border_ratio": round(border_ratio(truth, grid, cell), 4),
        "truth_worst_line": round(worst_line(truth, grid, cell), 4),
        "shift_rms": round(rms(expected[..., down:, across:][inner] - shifted[inner]), 5),
        "error_rms": round(rms(expected - truth), 5),
    }


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(values.square().mean().sqrt())


def main() -> None:
    """Parse the arguments, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--keep", required=True, help="names of the components that are kept, separated by commas")
    parser.add_argument("--overlaps", type=int, nargs="+", help="default: none, an eighth, a quarter and a half of a tile")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pipeline = vqkit.load(arguments.run)
    tile = min(pipeline.spec.height, pipeline.spec.width)
    with open_raster(arguments.image) as raster:
        height, width = (min(size, arguments.size) for size in (raster.info.height, raster.info.width))
        window = Window((raster.info.height - height) // 2, (raster.info.width - width) // 2, height, width)
        image = torch.from_numpy(raster.read(window).values)
    overlaps = arguments.overlaps or [0, tile // 8, tile // 4, tile // 2]
    report = {
        "machine": describe_machine(),
        "versions": describe_versions(),
        "image": [*image.shape],
        "tile": [pipeline.spec.height, pipeline.spec.width],
        "kept": arguments.keep.split(","),
        "overlaps": [measure(pipeline, image, arguments.keep.split(","), overlap) for overlap in overlaps],
    }
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
