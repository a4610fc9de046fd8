"""The nearest code of each feature vector: the one expensive step of vector quantisation.

`argmin_k |z - e_k|^2 = argmin_k (|e_k|^2 / 2 - z . e_k)`, so one matrix product finds it. Three things make it quick:

- the term `|e_k|^2 / 2` rides inside the product, as one more column of the codes against a column of ones in the features;
- distances are made for a few rows at a time, in a buffer that stays in the processor's cache and is reused;
- a minimum's *position* is many times dearer than its value (it cannot be vectorised), so we take the minima of groups of
  64 codes, the position of the smallest of those, and the position inside that one group.

Codes and features are first shifted by the mean code. That changes no distance, and keeps float32 exact enough when
features lie far from the origin, where `|e|^2 / 2` and `z . e` would be large and nearly equal.
"""

from __future__ import annotations

import torch
from torch import Tensor

GROUP = 64
"""Codes whose minimum is taken together: four AVX-512 vectors of float32."""

CHUNK_DISTANCES = {"cpu": 2**20}
"""Distances held at once, by kind of device: 4 MB on a processor. Fewer fit its caches better, but its threads meet more often."""

DEFAULT_CHUNK_DISTANCES = 2**25
"""On any other device: 128 MB, large enough to keep a GPU busy."""

MIN_CHUNK_ROWS = 128
"""With fewer rows at a time a matrix product no longer reaches its speed, however many codes there are."""


def nearest_codes(rows: Tensor, codes: Tensor) -> Tensor:
    """Index of the nearest code of each row by Euclidean distance.

    `rows` float32 [N, D]; `codes` float32 [K, D]. Returns int64 [N]. Among codes that are equally near up to float32 rounding
    any may be chosen. Holds at most `chunk_rows(K) x K` distances at once.
    """
    rows, codes = rows.detach(), codes.detach()
    shift = codes.mean(dim=0)
    weights = _augmented(codes, shift).T
    padded = weights.shape[1]
    step = min(chunk_rows(padded, rows.device), max(1, len(rows)))
    features = rows.new_ones(step, rows.shape[1] + 1)
    distances = rows.new_empty(step, padded)
    indices = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    group_starts = torch.arange(step, device=rows.device) * (padded // GROUP)
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        size = len(chunk)
        torch.sub(chunk, shift, out=features[:size, :-1])
        torch.mm(features[:size], weights, out=distances[:size])
        groups = distances[:size].view(-1, GROUP)
        group = groups.amin(dim=1).view(size, -1).min(dim=1).indices
        inside = groups.index_select(0, group_starts[:size] + group).min(dim=1).indices
        torch.add(inside, group, alpha=GROUP, out=indices[start : start + size])
    # Only rows that are not finite can land on the padding; they get some valid index.
    return indices.clamp_(max=len(codes) - 1)


def chunk_rows(num_codes: int, device: torch.device) -> int:
    """How many rows are compared with `num_codes` codes at a time."""
    return max(MIN_CHUNK_ROWS, CHUNK_DISTANCES.get(device.type, DEFAULT_CHUNK_DISTANCES) // num_codes)


def _augmented(codes: Tensor, shift: Tensor) -> Tensor:
    """`[-(e - shift), |e - shift|^2 / 2]` of each code, float32 [K up to whole groups, D + 1]; padding is infinitely far."""
    count, dim = codes.shape
    padded = -(-count // GROUP) * GROUP
    weights = codes.new_zeros(padded, dim + 1)
    moved = torch.sub(shift, codes, out=weights[:count, :-1])
    torch.linalg.vector_norm(moved, dim=1, out=weights[:count, -1]).square_().mul_(0.5)
    weights[count:, -1] = torch.inf
    return weights
