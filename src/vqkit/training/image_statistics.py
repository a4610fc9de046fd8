"""What a model takes from the training images before its first step: the statistics of neighbourhoods, and component weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vqkit.data.loading import all_batches
from vqkit.data.subsets import Subset, evenly_spaced
from vqkit.interfaces import Autoencoder, Split
from vqkit.layers.linear_guess import PatchStatistics, measure_patches, patch_stride
from vqkit.layers.linear_start import LinearStart
from vqkit.models.likelihoods import PixelDistance

MEASURED_IMAGES = 4096
"""Training images of which statistics are taken, evenly spaced, if there are more."""


def measure_training_images(model: Autoencoder, train: Split) -> None:
    """Give a model the statistics that it uses: of neighbourhoods for its linear guess, and the variances of components."""
    starts = [module for module in model.modules() if isinstance(module, LinearStart)]
    distances = [module for module in model.modules() if isinstance(module, PixelDistance)]
    if not starts and not distances:
        return
    statistics = patch_statistics(model, train)
    for start in starts:
        start.set_statistics(statistics)
    names = list(model.spec.components)
    variances = statistics.variances(len(names))
    for distance in distances:
        own = [names.index(each.name) for each in distance.component_specs]
        distance.set_variances(variances[own])


def patch_statistics(model: Autoencoder, train: Split) -> PatchStatistics:
    """The statistics of neighbourhoods in training images, in the unit values of a model."""
    spec = model.spec
    chosen = Subset(train, evenly_spaced(len(train), MEASURED_IMAGES))

    def batches() -> Iterator[tuple[Tensor, Tensor | None]]:
        for batch in all_batches(chosen, 64):
            unit = batch.to(torch.device("cpu"), spec)
            yield unit.images, unit.present

    return measure_patches(batches(), len(spec.components), patch_stride(len(chosen), spec.height, spec.width))
