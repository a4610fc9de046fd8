"""Sessions over models whose answers can be worked out by hand, and a split of a few images for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from painting import noise, pipeline
from vqkit.app.session import Session
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, ComponentSpec, DataSpec, Split

NAMES = ("dna", "actin", "golgi")
CELLS = DataSpec(
    "cells", tuple(ComponentSpec(name, "intensity", "uint16", 40, 3000, 20, 3161, unit="counts") for name in NAMES), 8, 8
)
BANDS = DataSpec(
    "bands", tuple(ComponentSpec(f"B{number:02d}", "intensity", "uint16", 0, 7000, 0, 7065) for number in range(1, 14)), 8, 8
)


class Few(Split):
    """Stored images that are in memory."""

    in_memory = True

    def __init__(self, spec: DataSpec, images: Tensor, present: Tensor | None = None) -> None:
        super().__init__(spec)
        self._images, self._present = images, present

    def __len__(self) -> int:
        return len(self._images)

    def batch(self, indices: Tensor) -> Batch:
        present = None if self._present is None else self._present[indices]
        images = self._images[indices]
        return Batch(images, self.spec.unknown_conditions(len(images)), torch.full((len(images),), -1), present=present)

    def names(self, indices: Tensor) -> list[str]:
        return [f"c{index}" for index in indices.tolist()]


@dataclass(frozen=True)
class Given:
    """Numbers of an image of `CELLS` or `BANDS`."""

    count: int = 3
    height: int = 8
    width: int = 8

    def numbers(self, seed: int = 0) -> Any:
        return noise(self.count, self.height, self.width, low=503, high=1022, dtype="uint16", seed=seed)


def session(spec: DataSpec = CELLS, sampler: Sampler | None = None, images: Split | None = None) -> Session:
    """A session over the blocks of this specification; of the cells, with three test images."""
    model = pipeline(spec) if sampler is None else sampler.pipeline
    if images is None and spec is CELLS:
        stored = torch.stack([torch.from_numpy(Given().numbers(seed)) for seed in range(3)])
        images = Few(spec, stored)
    return Session(model, sampler, images)
