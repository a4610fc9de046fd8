"""Register a data set of your own: discs and rings, two components that never overlap.

    python examples/add_a_dataset.py [STEPS]

In a package of your own, publish the module as an entry point, and `vqkit train-vqvae --data discs` finds it:

    [project.entry-points."vqkit.datasets"]
    discs = "my_package.discs"
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from vqkit.config import Settings
from vqkit.data.splits import ArraySplit
from vqkit.interfaces import DataSpec, ImageDataset, Split
from vqkit.registry import DATASETS
from vqkit.training.run import train


class DiscOptions(Settings):
    """Settings of the discs."""

    count: int = Field(512, ge=1, description="Images in each split.")


@DATASETS.register("discs", "a disc in a ring: two components, the ring's width is proportional to the disc's radius")
class Discs(ImageDataset):
    """Discs with rings around them, 32 x 32."""

    Options = DiscOptions
    spec = DataSpec.uniform("discs", ("disc", "ring"), 32, 32, "binary", exclusive=True)

    def __init__(self, options: DiscOptions) -> None:
        self.count = options.count

    def split(self, name: Literal["train", "val", "test"]) -> Split:
        """Generate one split; each has its own seed."""
        generator = torch.Generator().manual_seed({"train": 0, "val": 1, "test": 2}[name])
        centre = 12 + 8 * torch.rand(self.count, 2, 1, 1, generator=generator)
        radius = 3 + 5 * torch.rand(self.count, 1, 1, generator=generator)
        axis = torch.arange(32) + 0.5
        distance = ((axis[None, :, None] - centre[:, 0]) ** 2 + (axis[None, None, :] - centre[:, 1]) ** 2).sqrt()
        disc, whole = distance <= radius, distance <= 1.4 * radius
        images = torch.stack([disc, whole & ~disc], dim=1).to(torch.uint8) * 255
        return ArraySplit(self.spec, images)


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    model = {"name": "vqvae", "hidden": 32, "inner": 32, "quantizer": {"num_codes": 64, "dim": 16}}
    train(None, {"model": model, "data": "discs", "training": {"steps": steps}}, [], Path("runs/discs"), "auto")
