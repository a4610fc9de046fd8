"""The batches of all processes as one matrix, for random choices that must not depend on how a batch is distributed."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.core import distributed


class GlobalBatch:
    """The rows of all processes, ordered by rank, of which this process holds float32 [N, D].

    Every process must create one and call the same methods with equal arguments. The results are then equal on all processes, and
    equal to those of a single process that holds all rows.
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        sizes = torch.zeros(distributed.world_size(), dtype=torch.int64, device=rows.device)
        sizes[distributed.rank()] = len(rows)
        distributed.all_reduce(sizes)
        counted = sizes.tolist()
        self.start: int = sum(counted[: distributed.rank()])
        self.total: int = sum(counted)

    def take(self, positions: Tensor) -> Tensor:
        """The global rows at `positions` int64 [P]: float32 [P, D]."""
        local = positions.to(self.rows.device) - self.start
        own = (local >= 0) & (local < len(self.rows))
        taken = self.rows[local.clamp(0, len(self.rows) - 1)]
        # Not a product with the mask: a NaN in a row that is not requested must not spread.
        taken = torch.where(own[:, None], taken, torch.zeros_like(taken))
        distributed.all_reduce(taken)
        return taken

    def gather(self, values: Tensor) -> Tensor:
        """Concatenate a value per row, float32 [N], over all processes: float32 [total]."""
        gathered = values.new_zeros(self.total)
        gathered[self.start : self.start + len(values)] = values
        distributed.all_reduce(gathered)
        return gathered


def draw_distinct(batch: GlobalBatch, count: int, generator: torch.Generator) -> Tensor:
    """`count` global rows, drawn uniformly without replacement, float32 [count, D]; rows repeat if there are fewer than `count`."""
    order = torch.randperm(batch.total, generator=generator)
    return batch.take(order[torch.arange(count) % batch.total])


def draw_weighted(batch: GlobalBatch, weights: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Up to `count` global rows, drawn without replacement with probability proportional to their weights.

    `weights` float32 [N], not negative, of the rows of this process. Returns the rows, float32 [P, D] with P = min(count, total),
    and bool [P], False for rows of weight zero, which fill up the result when there are too few others.
    """
    noise = torch.empty(batch.total).exponential_(generator=generator).to(weights.device)
    # Weighted sampling without replacement: the largest quotients of weight and exponential noise (Efraimidis & Spirakis 2006).
    keys, positions = (batch.gather(weights) / noise.clamp_min(torch.finfo(torch.float32).tiny)).topk(min(count, batch.total))
    return batch.take(positions), keys > 0
