"""What a training step gives back."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class StepOutput(NamedTuple):
    """What a task returns for one batch.

    `loss`: the scalar to minimise; `scalars`: named detached scalars to average over the epoch;
    `counts`: named int64 [K] histograms of chosen codes to sum over the epoch.
    """

    loss: Tensor
    scalars: dict[str, Tensor]
    counts: dict[str, Tensor]
