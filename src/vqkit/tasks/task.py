"""What the trainer needs to know of what it trains.

A task returns a loss and what to record; the trainer steps and records. Draws are made for the global batch on every process and
then cut to its share, so that a run does not depend on the number of processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from vqkit.config import HolesConfig, NamedOptions
from vqkit.distributed import rank, world_size
from vqkit.interfaces import Batch, DataSpec, Learner, StepOutput
from vqkit.masking import sample_parts
from vqkit.randomness import generator_for

Holes = TypeVar("Holes", bound=HolesConfig)


class Moment(NamedTuple):
    """Where a run is: optimizer steps done, epochs done as a fraction, and the share of the run that is done."""

    step: int
    epoch: float
    progress: float = 0.0


class Task(nn.Module, ABC):
    """A network and what is to be learned of it.

    `model` is what is trained, averaged and saved; `spec` describes the pictures that `pictures` gives; `headline` names the
    figures of metrics.jsonl that are shown after an epoch; `has_best`: whether the validation loss says which checkpoint is the
    best one. What a task has beside its model is kept for a resumed run only.
    """

    model: nn.Module
    spec: DataSpec
    headline: tuple[str, ...]
    has_best: bool = True

    def learners(self) -> list[Learner]:
        """The networks that are trained: the model, and after it those that only serve its training."""
        return [Learner(self.model)]

    @abstractmethod
    def forward(self, batch: Batch, moment: Moment) -> StepOutput:
        """One training step's loss. `batch` is on the device, images float [B, C, H, W] in [0, 1]."""

    @abstractmethod
    def validate(self, batch: Batch, first: int) -> dict[str, Tensor]:
        """Sums over a validation batch, float64 [], whose first image is number `first` of the split."""

    @abstractmethod
    def validation_row(self, sums: dict[str, float]) -> dict[str, float]:
        """Figures of a validation pass from its sums. `loss` is what the best checkpoint has least of."""

    def figures(self) -> dict[str, float]:
        """Further figures of a validation pass, which are not sums over its images; the same on all processes."""
        return {}

    @abstractmethod
    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Named rows of pictures of a validation batch, float [B, C, H, W]."""

    @abstractmethod
    def write(self, path: Path, data: NamedOptions, tensors: Mapping[str, Tensor]) -> None:
        """Save the model; `tensors` replace its own of the same names."""

    def finish(self, run: Path) -> None:
        """Write what a finished run shows beside its figures and pictures into its directory. Nothing, by default."""
        del run

    def remark(self, figures: Mapping[str, float], best: float) -> str | None:
        """What to tell the user about an epoch's figures, if anything. `best` is the smallest validation loss before it."""
        del figures, best
        return None


def fixed_observed(images: Tensor, holes: HolesConfig, seed: int, first: int) -> Tensor:
    """Part of each image is hidden, in the manner of training but always, and by its number alone: bool [B, C, H, W].

    `first` is the number of the first image; so the batches may be cut, and spread over processes, in any way.
    """
    _, components, height, width = images.shape
    generators = (generator_for(seed, "validation", number) for number in range(first, first + len(images)))
    drawn = [sample_parts((1, components, height, width), holes, generator) for generator in generators]
    return torch.cat(drawn).to(images.device)


def settle_holes(holes: Holes, spec: DataSpec) -> Holes:
    """The configuration with `kind: auto` settled: components where there are several, boxes where there is one."""
    if holes.kind != "auto":
        return holes
    return holes.model_copy(update={"kind": "components" if len(spec.components) > 1 else "boxes"})


def share(drawn: Tensor) -> Tensor:
    """This process's contiguous part of what was drawn for the global batch."""
    return drawn.chunk(world_size())[rank()]
