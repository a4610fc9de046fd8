"""K-means on the batch of all processes, which initialises a codebook."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.core import distributed
from vqkit.quantizers.global_batch import GlobalBatch, draw_distinct
from vqkit.quantizers.l2_normalize import l2_normalize
from vqkit.quantizers.nearest import nearest_codes
from vqkit.quantizers.straight_through import count_by_code, sum_by_code

MOST_DISTANCES = 2**30
"""Distances that all iterations together may compute, about as many as ten with 1,024 codes and 100,000 rows.

With more codes there are fewer rows for each, and fewer iterations suffice: up to four rows a code, ten and two differ by less than
one percent in the error of other rows. One of 65,536 codes takes as long as a training step.
"""


def kmeans(
    rows: Tensor, num_codes: int, iterations: int, generator: torch.Generator, l2_normalized: bool = False
) -> tuple[Tensor, Tensor]:
    """Centres and sizes of the clusters of the rows of all processes, by Lloyd's algorithm.

    `rows` float32 [N, D] of this process. The first centres are random rows; a centre without rows keeps its value. With no
    iterations those first centres are returned, and sizes of one. `iterations`: at most, see `affordable_iterations`.
    `l2_normalized`: the rows are l2-normalised, and the centres will be too (spherical k-means). Returns float32 [K, D] and [K],
    bit-identical on every process.
    """
    batch = GlobalBatch(rows)
    centres = draw_distinct(batch, num_codes, generator)
    sizes = centres.new_ones(num_codes)
    for _ in range(affordable_iterations(batch.total, num_codes, iterations)):
        sizes, sums = assign(rows, nearest_codes(rows, centres), num_codes)
        means = sums / sizes[:, None].clamp_min(1)
        centres = torch.where(sizes[:, None] > 0, l2_normalize(means, 1) if l2_normalized else means, centres)
    distributed.broadcast(centres, sizes)
    return centres, sizes


def affordable_iterations(total: int, num_codes: int, wanted: int) -> int:
    """How many of the `wanted` iterations are done on `total` rows: at least one, and as many as `MOST_DISTANCES` allows.

    None where there are as many codes as rows: every row is a centre, and iterations would change nothing.
    """
    if total <= num_codes:
        return 0
    return min(wanted, max(1, MOST_DISTANCES // (total * num_codes)))


def assign(rows: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Number and sum of the rows of all processes that chose each code: float32 [K] and [K, D]. Every process must call it."""
    counts, sums = count_by_code(indices, num_codes), sum_by_code(rows, indices, num_codes)
    distributed.all_reduce(counts, sums)
    return counts, sums
