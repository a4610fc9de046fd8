"""What a model takes from the training images before its first step: the statistics of neighbourhoods, and component weights."""

from __future__ import annotations

import torch

from vqkit.data.loading import all_batches
from vqkit.data.subsets import Subset, evenly_spaced
from vqkit.interfaces import Autoencoder, Split
from vqkit.layers.linear_guess import PatchMeter, PatchStatistics, patch_stride
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.spatial_covariance import CovarianceMeter, SpatialCovariance
from vqkit.models.likelihoods import PixelDistance

MEASURED_IMAGES = 4096
"""Training images of which statistics are taken, evenly spaced, if there are more."""


def measure_training_images(model: Autoencoder, train: Split) -> None:
    """Give a model the statistics that it uses: of neighbourhoods for its linear guess, and the variances of components."""
    starts = [module for module in model.modules() if isinstance(module, LinearStart)]
    distances = [module for module in model.modules() if isinstance(module, PixelDistance)]
    if not starts and not distances:
        return
    statistics, covariance = image_statistics(model, train)
    for start in starts:
        start.set_statistics(statistics, covariance)
    names = list(model.spec.components)
    variances = statistics.variances(len(names))
    for distance in distances:
        own = [names.index(each.name) for each in distance.component_specs]
        distance.set_variances(variances[own])


def image_statistics(model: Autoencoder, train: Split) -> tuple[PatchStatistics, SpatialCovariance]:
    """The statistics of neighbourhoods and of pairs of pixels in training images, in the unit values of a model."""
    spec = model.spec
    chosen = Subset(train, evenly_spaced(len(train), MEASURED_IMAGES))
    stride = patch_stride(len(chosen), spec.height, spec.width)
    neighbourhoods = PatchMeter(len(spec.components), stride=stride)
    pairs = CovarianceMeter(len(spec.components), stride)
    for batch in all_batches(chosen, 64):
        unit = batch.to(torch.device("cpu"), spec)
        neighbourhoods.add(unit.images, unit.present)
        pairs.add(unit.images, unit.present)
    return neighbourhoods.result(), pairs.result()
