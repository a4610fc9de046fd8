"""K-means on the batch of all processes, which initialises a codebook."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.core import distributed
from vqkit.quantizers.global_batch import GlobalBatch, draw_distinct
from vqkit.quantizers.l2_normalize import l2_normalize
from vqkit.quantizers.nearest import nearest_codes
from vqkit.quantizers.straight_through import count_by_code, sum_by_code


def kmeans(
    rows: Tensor, num_codes: int, iterations: int, generator: torch.Generator, l2_normalized: bool = False
) -> tuple[Tensor, Tensor]:
    """Centres and sizes of the clusters of the rows of all processes, by Lloyd's algorithm.

    `rows` float32 [N, D] of this process. The first centres are random rows; a centre without rows keeps its value. With no
    iterations those first centres are returned, and sizes of one. `l2_normalized`: the rows are l2-normalised, and the centres
    will be too (spherical k-means). Returns float32 [K, D] and [K], bit-identical on every process.
    """
    centres = draw_distinct(GlobalBatch(rows), num_codes, generator)
    sizes = centres.new_ones(num_codes)
    for _ in range(iterations):
        sizes, sums = assign(rows, nearest_codes(rows, centres), num_codes)
        means = sums / sizes[:, None].clamp_min(1)
        centres = torch.where(sizes[:, None] > 0, l2_normalize(means, 1) if l2_normalized else means, centres)
    distributed.broadcast(centres, sizes)
    return centres, sizes


def assign(rows: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Number and sum of the rows of all processes that chose each code: float32 [K] and [K, D]. Every process must call it."""
    counts, sums = count_by_code(indices, num_codes), sum_by_code(rows, indices, num_codes)
    distributed.all_reduce(counts, sums)
    return counts, sums
