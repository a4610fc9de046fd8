"""Stochastic binarisation of grey images: each pixel is set with a probability equal to its grey value.

This is the usual protocol for binarised MNIST (Salakhutdinov & Murray 2008, "On the Quantitative
Analysis of Deep Belief Networks"; anew for each epoch in Burda et al. 2016, "Importance Weighted Autoencoders").
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.data.splits import ArraySplit
from vqkit.interfaces import DataSpec, Split, SplitName

_CHUNK = 4096


class SampledSplit(ArraySplit):
    """Binarised images of `greys` [N, C, H, W] of any type; the binarisation is a function of the split's name and the epoch.

    Outside of training it is fixed. `ends`: the greys that are never and always set (see `sample_binary`); `rest`: the arguments of
    `ArraySplit` after its images.
    """

    def __init__(self, spec: DataSpec, name: SplitName, greys: Tensor, ends: tuple[float, float], *rest: Any) -> None:
        super().__init__(spec, sample_binary(greys, ends, generator_for("binarised", name)), *rest)
        self._name: SplitName = name
        self._greys, self._ends, self._rest = greys, ends, rest

    def epoch(self, number: int) -> Split:
        """See `Split.epoch`: a new binarisation of the same grey images."""
        drawn = sample_binary(self._greys, self._ends, generator_for("binarised", self._name, number))
        return ArraySplit(self.spec, drawn, *self._rest)


def sample_binary(greys: Tensor, ends: tuple[float, float], generator: torch.Generator) -> Tensor:
    """Random images uint8 [N, C, H, W] of 0 and 255: set with the probability (grey - low) / (high - low), the `ends`."""
    low, high = ends
    chunks = [
        torch.rand(chunk.shape, generator=generator).mul_(high - low) < chunk.to(torch.float32) - low
        for chunk in torch.split(greys, _CHUNK)
    ]
    return torch.cat(chunks).to(torch.uint8).mul_(255)
