"""The rows of all processes, for losses that compare each image of a batch with all others, and for the statistics of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.core import distributed


def gather_rows(rows: Tensor) -> Tensor:
    """The rows [B, P] of every process, in the order of ranks: [N, P]. Every process must call it, with equal shapes.

    With a gradient: where every process computes the same loss of all rows, the mean over the processes of their parameters'
    gradients, which DistributedDataParallel takes, is that of one process which holds all rows.
    """
    if distributed.world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """See `gather_rows`."""

    @staticmethod
    def forward(context: Any, rows: Tensor) -> Tensor:
        context.count = len(rows)
        return torch.cat(distributed.gather(rows.contiguous()))

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        # The loss is the same everywhere, so each process knows its own rows' gradient; the factor undoes the mean that follows.
        first = distributed.rank() * context.count
        return gradients[0][first : first + context.count] * distributed.world_size()
