"""What is trained: tasks, what a training step gives back, and the networks that the optimizer updates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

from vqkit.interfaces.data import Batch, DataSpec

if TYPE_CHECKING:
    from vqkit.config import NamedOptions


class StepOutput(NamedTuple):
    """What a task returns for one batch.

    `loss`: the scalar to minimise; `scalars`: named detached scalars to average over the epoch;
    `counts`: named int64 [K] histograms of chosen codes to sum over the epoch.
    """

    loss: Tensor
    scalars: dict[str, Tensor]
    counts: dict[str, Tensor]


class ShownImages(NamedTuple):
    """Images to show: float [B, C, H, W] in units of the range, and which pixels (bool, broadcastable to them; None: all)."""

    images: Tensor
    present: Tensor | None = None


class OptimizerGroup(NamedTuple):
    """A network that learns: at `lr_scale` times the learning rate of the schedule, and with its gradient clipped by itself.

    `exclude`: parts of the network that have groups of their own.
    """

    network: nn.Module
    lr_scale: float = 1.0
    exclude: tuple[nn.Module, ...] = ()

    def parameters(self) -> list[nn.Parameter]:
        """The trainable parameters of the network without those of `exclude`."""
        others = {id(parameter) for part in self.exclude for parameter in part.parameters()}
        return [each for each in self.network.parameters() if each.requires_grad and id(each) not in others]


class TrainingState(NamedTuple):
    """Where a run is: optimizer steps done, epochs done as a fraction, and the share of the run that is done.

    The epochs are those of the configuration: where a small set is passed over more often, several passes make one.
    """

    step: int
    epoch: float
    progress: float = 0.0


class Task(nn.Module, ABC):
    """A network and its training objective.

    model: what is trained, averaged and saved. The other state of a task is only kept for a resumed run.
    spec: the images that `log_images` returns.
    progress_metrics: columns of metrics.jsonl that are printed after an epoch.
    step_metrics: training scalars that are shown in the progress bar.
    has_best: whether the validation loss decides which checkpoint is the best one.
    """

    model: nn.Module
    spec: DataSpec
    progress_metrics: tuple[str, ...]
    step_metrics: tuple[str, ...] = ("loss",)
    has_best: bool = True

    def optimizer_groups(self) -> list[OptimizerGroup]:
        """The networks that are trained: the model, and after it those that only serve its training."""
        return [OptimizerGroup(self.model)]

    @abstractmethod
    def forward(self, batch: Batch, state: TrainingState) -> StepOutput:
        """One training step's loss. `batch` is on the device, images float [B, C, H, W] in [0, 1]."""

    @abstractmethod
    def validate(self, batch: Batch, first: int) -> dict[str, Tensor]:
        """Sums over a validation batch, float64 [], whose first image is number `first` of the split."""

    @abstractmethod
    def validation_row(self, sums: dict[str, float]) -> dict[str, float]:
        """Metrics of a validation pass from its sums. The best checkpoint is the one with the smallest `loss`."""

    def extra_metrics(self) -> dict[str, float]:
        """Further metrics of a validation pass, which are not sums over its images; equal on all processes."""
        return {}

    @abstractmethod
    def log_images(self, batch: Batch) -> dict[str, ShownImages]:
        """Images to look at, by name, made of a validation batch."""

    @abstractmethod
    def write(self, path: Path, data: NamedOptions, tensors: Mapping[str, Tensor]) -> None:
        """Save the model; `tensors` replace its own of the same names."""

    def finish(self, run: Path) -> None:
        """Write further results of a finished run into its directory. Nothing by default."""
        del run

    def epoch_message(self, row: Mapping[str, float], best: float) -> str | None:
        """A note for the user about the metrics of an epoch, if any. `best` is the smallest earlier validation loss."""
        del row, best
        return None
