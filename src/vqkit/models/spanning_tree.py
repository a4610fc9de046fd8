"""A minimum spanning tree over the images of a batch, and noise that is correlated along its edges."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Tree(NamedTuple):
    """`parents` int64 [B], that of the root being itself; `levels`: the nodes at each depth, int64, the root (node 0) first."""

    parents: Tensor
    levels: tuple[Tensor, ...]

    @property
    def children(self) -> Tensor:
        """All nodes but the root, int64 [B - 1]: each is the child of one edge."""
        return torch.cat([self.parents[:0], *self.levels[1:]])


def spanning_tree(points: Tensor) -> Tree:
    """The minimum spanning tree of points [B, ...] (Prim 1957), rooted at the first; ties are broken by index.

    Without gradient. The tensors are on the device of the points.
    """
    flat = points.detach().flatten(1).double()
    distances = np.nan_to_num(torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").cpu().numpy())
    count = len(distances)
    parents, depths = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    outside, reach = np.arange(count) > 0, distances[0].copy()
    for _ in range(count - 1):
        node = int(np.where(outside, reach, np.inf).argmin())
        outside[node] = False
        depths[node] = depths[parents[node]] + 1
        closer = outside & (distances[node] < reach)
        parents[closer], reach[closer] = node, distances[node][closer]
    levels = [torch.from_numpy(np.flatnonzero(depths == depth)) for depth in range(int(depths.max()) + 1)]
    return Tree(torch.from_numpy(parents).to(points.device), tuple(level.to(points.device) for level in levels))


def correlate(noise: Tensor, tree: Tree, correlations: Tensor) -> Tensor:
    """Standard normal noise [B, ...] whose rows have `correlations` [B, ...] with their parent's (the root's is not used).

    The correlation of two rows is the product of those on the path between them. One operation for each depth of the tree.
    """
    correlated = noise.clone()
    for nodes in tree.levels[1:]:
        along = correlations[nodes]
        correlated[nodes] = along * correlated[tree.parents[nodes]] + (1 - along.square()).sqrt() * noise[nodes]
    return correlated
