"""What a training step gives back, and what it trains."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn


class StepOutput(NamedTuple):
    """What a task returns for one batch.

    `loss`: the scalar to minimise; `scalars`: named detached scalars to average over the epoch;
    `counts`: named int64 [K] histograms of chosen codes to sum over the epoch.
    """

    loss: Tensor
    scalars: dict[str, Tensor]
    counts: dict[str, Tensor]


class Learner(NamedTuple):
    """A network that learns: at `rate` times the learning rate of the schedule, and with its gradient clipped by itself.

    `without`: parts of the network that are learners of their own.
    """

    network: nn.Module
    rate: float = 1.0
    without: tuple[nn.Module, ...] = ()

    def parameters(self) -> list[nn.Parameter]:
        """What of it learns."""
        others = {id(parameter) for part in self.without for parameter in part.parameters()}
        return [each for each in self.network.parameters() if each.requires_grad and id(each) not in others]
