"""The batches of all processes as one matrix, for the few decisions that must not depend on how a batch was split."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.core import distributed


class GlobalBatch:
    """Rows float32 [N, D] of this process, seen as a slice of the rows of all processes, ordered by process number.

    Every process must make one and call its methods together, with equal arguments; the answers are then equal everywhere,
    and equal to those of a single process that holds all rows.
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
        """The rows at `positions` int64 [P] of all rows: float32 [P, D]. Each process fills in what it owns."""
        local = positions.to(self.rows.device) - self.start
        own = (local >= 0) & (local < len(self.rows))
        taken = self.rows[local.clamp(0, len(self.rows) - 1)]
        # Not a product: another process's NaN must not spread from a row that was not asked for.
        taken = torch.where(own[:, None], taken, torch.zeros_like(taken))
        distributed.all_reduce(taken)
        return taken

    def join(self, values: Tensor) -> Tensor:
        """One number for each own row, float32 [N], as one number for each of all rows, float32 [total]."""
        joined = values.new_zeros(self.total)
        joined[self.start : self.start + len(values)] = values
        distributed.all_reduce(joined)
        return joined


def draw_distinct(batch: GlobalBatch, count: int, generator: torch.Generator) -> Tensor:
    """`count` rows of all rows, each row equally likely, float32 [count, D]; repeated only if there are fewer rows than that."""
    order = torch.randperm(batch.total, generator=generator)
    return batch.take(order[torch.arange(count) % batch.total])


def draw_weighted(batch: GlobalBatch, weights: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Up to `count` different rows of all rows, drawn without replacement with probability proportional to their weights.

    `weights` float32 [N], not negative, of the own rows. Returns the rows, float32 [P, D] with P = min(count, total), and bool
    [P], False for a row that stands there only because too few have a weight above zero.
    """
    noise = torch.empty(batch.total).exponential_(generator=generator).to(weights.device)
    # The largest quotients of weights and exponential noise are such a draw (Efraimidis & Spirakis 2006).
    keys, positions = (batch.join(weights) / noise.clamp_min(torch.finfo(torch.float32).tiny)).topk(min(count, batch.total))
    return batch.take(positions), keys > 0
