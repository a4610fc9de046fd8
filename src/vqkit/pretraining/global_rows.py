"""Gathering rows from all processes, with gradients, for losses and statistics over the global batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.core import distributed


def gather_with_gradients(rows: Tensor) -> Tensor:
    """The rows [B, P] of every process, in the order of ranks: [N, P]. Every process must call it, with equal shapes.

    Differentiable: if every process computes the same loss of all rows, then the gradients that DistributedDataParallel averages
    over the processes equal those of a single process with all rows.
    """
    if distributed.world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """See `gather_with_gradients`."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        context.count = len(rows)
        return torch.cat(distributed.gather(rows.contiguous()))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # The loss is the same in every process, so each takes the gradient of its own rows; the factor undoes the later average.
        first = distributed.rank() * context.count
        return gradients[0][first : first + context.count] * distributed.world_size()
