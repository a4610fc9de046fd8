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
    """Binarised images of `greys` uint8 [N, C, H, W]; the binarisation is a function of the split's name and the epoch.

    Outside of training it is fixed. `rest`: the arguments of `ArraySplit` after its images.
    """

    def __init__(self, spec: DataSpec, name: SplitName, greys: Tensor, *rest: Any) -> None:
        super().__init__(spec, sample_binary(greys, generator_for("binarised", name)), *rest)
        self._name: SplitName = name
        self._greys, self._rest = greys, rest

    def epoch(self, number: int) -> Split:
        """See `Split.epoch`: a new binarisation of the same grey images."""
        return ArraySplit(self.spec, sample_binary(self._greys, generator_for("binarised", self._name, number)), *self._rest)


def sample_binary(greys: Tensor, generator: torch.Generator) -> Tensor:
    """Random images uint8 [N, C, H, W] of 0 and 255 whose expected value is `greys`."""
    chunks = [torch.rand(chunk.shape, generator=generator).mul_(255) < chunk for chunk in torch.split(greys, _CHUNK)]
    return torch.cat(chunks).to(torch.uint8).mul_(255)
