"""Holes filled in by the best linear prediction from the pixels around them."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.evaluation.floors.predictors import Known, Predictor
from vqkit.evaluation.floors.smooth import Harmonic
from vqkit.evaluation.floors.training_sample import TrainingSample
from vqkit.layers.kriging import fill_by_kriging
from vqkit.layers.linear_guess import patch_stride
from vqkit.layers.spatial_covariance import CovarianceMeter, SpatialCovariance


class Kriging(Predictor):
    """Each component by itself, with the covariance of its pixels in the training images; see `vqkit.layers.kriging`.

    `means` [C] of the training images, taken where nothing of a component is visible. A hole that kriging leaves out is filled in
    as by `Harmonic`.
    """

    name = "kriging"

    def __init__(self, sample: TrainingSample, means: Tensor) -> None:
        meter = CovarianceMeter(len(means), patch_stride(len(sample), sample.spec.height, sample.spec.width))
        for images, present in sample.chunks():
            meter.add(images.cpu(), present.cpu())
        self._covariance = SpatialCovariance(meter.result().amplitudes.to(means.device))
        self._means = means.double()
        self._otherwise = Harmonic(means, sample.spec.height, sample.spec.width)

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        holes = known.observed.flatten(2).any(dim=2) & ~known.observed.flatten(2).all(dim=2)
        filled, done = fill_by_kriging(known.images, known.observed, holes, self._covariance, self._means)
        rest = known.observed | done[:, :, None, None]
        if bool(rest.all()):
            return filled
        return torch.where(done[:, :, None, None], filled, self._otherwise.predict(Known(filled, rest, known.keep)))
