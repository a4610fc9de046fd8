"""Lloyd's iterations on the batch of all processes, which give a codebook its first codes."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.core import distributed
from vqkit.quantizers.global_batch import GlobalBatch, draw_distinct
from vqkit.quantizers.nearest import nearest_codes
from vqkit.quantizers.sphere import unit
from vqkit.quantizers.straight_through import count_by_code, sum_by_code


def kmeans(
    rows: Tensor, num_codes: int, iterations: int, generator: torch.Generator, on_sphere: bool = False
) -> tuple[Tensor, Tensor]:
    """Centres and sizes of the clusters of the rows of all processes.

    `rows` float32 [N, D] of this process. Starts from random rows; a centre without rows stays where it is. With no
    iterations the centres are those rows, and the sizes are ones. `on_sphere`: rows have length one, and so get the centres
    (spherical k-means). Returns float32 [K, D] and [K], bit-equal on every process.
    """
    centres = draw_distinct(GlobalBatch(rows), num_codes, generator)
    sizes = centres.new_ones(num_codes)
    for _ in range(iterations):
        sizes, sums = assign(rows, nearest_codes(rows, centres), num_codes)
        means = sums / sizes[:, None].clamp_min(1)
        centres = torch.where(sizes[:, None] > 0, unit(means, 1) if on_sphere else means, centres)
    distributed.broadcast(centres, sizes)
    return centres, sizes


def assign(rows: Tensor, indices: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Number and sum of the rows of all processes that chose each code: float32 [K] and [K, D]. Every process must call it."""
    counts, sums = count_by_code(indices, num_codes), sum_by_code(rows, indices, num_codes)
    distributed.all_reduce(counts, sums)
    return counts, sums
