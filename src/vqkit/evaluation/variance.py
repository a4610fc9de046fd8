"""Variance of the images of a data set: what errors are compared with."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core.distributed import all_reduce, gather
from vqkit.evaluation.error_meter import measured_components
from vqkit.interfaces import DataSpec


class Variances(NamedTuple):
    """Variances of present pixels in unit values, divided by their count; NaN where there are none.

    `common`: of the pixels of all measured components (see `measured_components`) together, around their one mean; `components`: of
    each component, around its own; `constant`: the value of each component that has the same one in all pixels, else None.
    """

    common: float
    components: tuple[float, ...]
    constant: tuple[float | None, ...]


class VarianceMeter:
    """Sums pixels over a data set: the result does not depend on the batches or, up to rounding, on the processes."""

    def __init__(self, spec: DataSpec, device: torch.device) -> None:
        count = len(spec.components)
        self._measured = measured_components(spec).to(device)
        self._sums = torch.zeros(3, count, dtype=torch.float64, device=device)
        self._extremes = torch.tensor([[math.inf], [math.inf]], dtype=torch.float64, device=device).repeat(1, count)

    def add(self, images: Tensor, present: Tensor) -> None:
        """Add images float [B, C, H, W] where they are `present`, bool of the same shape."""
        values = torch.where(present, images.double(), 0).transpose(0, 1).flatten(1)
        there = present.transpose(0, 1).flatten(1)
        self._sums += torch.stack([there.sum(1).double(), values.sum(1), values.square().sum(1)])
        ends = torch.stack([values, -values]).masked_fill(~there, math.inf).amin(dim=2)
        self._extremes = torch.minimum(self._extremes, ends)

    def result(self) -> Variances:
        """The variances of everything added by all processes. Every process must call it, once."""
        all_reduce(self._sums)
        lowest, highest = torch.stack(gather(self._extremes)).amin(dim=0)
        same = (lowest == -highest).tolist()
        components = [0.0 if equal else _variance(sums) for equal, sums in zip(same, self._sums.T, strict=True)]
        constant = [low if equal else None for equal, low in zip(same, lowest.tolist(), strict=True)]
        # One value in all components: the difference of two large sums would not be exactly 0.
        ends = lowest[self._measured].min(), highest[self._measured].min()
        common = 0.0 if bool(ends[0] == -ends[1]) else _variance(self._sums[:, self._measured].sum(dim=1))
        return Variances(common, tuple(components), tuple(constant))


def _variance(sums: Tensor) -> float:
    """The variance of values whose count, sum and sum of squares are given, [3]; NaN where there are none."""
    count, total, squares = sums.tolist()
    return max(0.0, squares / count - (total / count) ** 2) if count else math.nan
