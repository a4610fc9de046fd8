"""What a model takes from the training images before its first step: the statistics of neighbourhoods, and component weights."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.data.loading import all_batches
from vqkit.data.subsets import Subset, evenly_spaced
from vqkit.interfaces import Autoencoder, Batch, Split
from vqkit.layers.linear_guess import PatchMeter, PatchStatistics, patch_stride
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.spatial_covariance import CovarianceMeter, SpatialCovariance
from vqkit.models.distances import PixelDistance

MEASURED_IMAGES = 4096
"""Training images of which statistics are taken, evenly spaced, if there are more."""
_EXTREMES = -1.0, 2.0
"""Unit values beyond which pixels count as these in variances: one wild pixel would take its component out of the loss."""


def measure_training_images(model: Autoencoder, train: Split) -> None:
    """Give a model the statistics that it uses: of neighbourhoods for its linear guess, and the variances of components."""
    starts = [module for module in model.modules() if isinstance(module, LinearStart)]
    distances = [module for module in model.modules() if isinstance(module, PixelDistance)]
    if not starts and not distances:
        return
    statistics, covariance, variances = image_statistics(model, train)
    for start in starts:
        start.set_statistics(statistics, covariance)
    names = list(model.spec.components)
    for distance in distances:
        own = [names.index(each.name) for each in distance.component_specs]
        distance.set_variances(variances[own])


def image_statistics(model: Autoencoder, train: Split) -> tuple[PatchStatistics, SpatialCovariance, Tensor]:
    """The statistics of neighbourhoods and of pairs of pixels in training images, and the variances of components, float64 [C].

    All in the unit values of a model. The variances are those of values within twice the range.
    """
    spec = model.spec
    chosen = Subset(train, evenly_spaced(len(train), MEASURED_IMAGES))
    stride = patch_stride(len(chosen), spec.height, spec.width)
    neighbourhoods = PatchMeter(len(spec.components), stride=stride)
    pairs = CovarianceMeter(len(spec.components), stride)
    moments = torch.zeros(3, len(spec.components), dtype=torch.float64)
    for batch in all_batches(chosen, 64):
        unit = batch.to(torch.device("cpu"), spec)
        neighbourhoods.add(unit.images, unit.present)
        pairs.add(unit.images, unit.present)
        moments += _moments(unit)
    mean, square = moments[1:] / moments[0].clamp_min(1)
    return neighbourhoods.result(), pairs.result(), square - mean.square()


def _moments(unit: Batch) -> Tensor:
    """The number of present pixels of each component, their sum and that of their squares, float64 [3, C]."""
    there = unit.observed
    values = torch.where(there, unit.images.clamp(*_EXTREMES), 0).double() - 0.5 * there
    return torch.stack([each.sum((0, 2, 3), dtype=torch.float64) for each in (there, values, values.square())])
