"""What the trainer needs to know of what it trains.

A task returns a loss and what to record; the trainer steps and records. Draws are made for the global batch on every process and
then cut to its share, so that a run does not depend on the number of processes.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

from vqkit.config import HolesConfig
from vqkit.core.distributed import rank, world_size
from vqkit.core.randomness import generator_for
from vqkit.data.masking import sample_parts
from vqkit.interfaces import DataSpec

Holes = TypeVar("Holes", bound=HolesConfig)


def fixed_observed(images: Tensor, holes: HolesConfig, seed: int, first: int) -> Tensor:
    """Part of each image is hidden, in the manner of training but always, and by its number alone: bool [B, C, H, W].

    `first` is the number of the first image; so the batches may be cut, and spread over processes, in any way.
    """
    _, components, height, width = images.shape
    generators = (generator_for(seed, "validation", number) for number in range(first, first + len(images)))
    drawn = [sample_parts((1, components, height, width), holes, generator) for generator in generators]
    return torch.cat(drawn).to(images.device)


def resolve_mask_kind(holes: Holes, spec: DataSpec) -> Holes:
    """The configuration with `kind: auto` settled: components where there are several, boxes where there is one."""
    if holes.kind != "auto":
        return holes
    return holes.model_copy(update={"kind": "components" if len(spec.components) > 1 else "boxes"})


def share(drawn: Tensor) -> Tensor:
    """This process's contiguous part of what was drawn for the global batch."""
    return drawn.chunk(world_size())[rank()]
