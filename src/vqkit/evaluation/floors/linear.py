"""Linear regression of missing components from the kept ones, of the same pixel or of the 5 x 5 around it."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.evaluation.floors.predictors import Known, Predictor
from vqkit.evaluation.floors.training_sample import TrainingSample
from vqkit.layers.linear_guess import (
    LinearGuess,
    PatchStatistics,
    guess,
    linear_guess,
    measure_patches,
    patch_stride,
)


def neighbourhoods(sample: TrainingSample) -> PatchStatistics:
    """Mean and covariance of all components in 5 x 5 pixels of the training images."""
    spec = sample.spec
    stride = patch_stride(len(sample), spec.height, spec.width)
    return measure_patches(((images.cpu(), present.cpu()) for images, present in sample.chunks()), len(spec.components), stride)


class Linear(Predictor):
    """Least squares from the kept components of the same pixel. A kept pixel that is absent is taken to be at its mean."""

    name = "linear"
    radius: int | None = 0
    """Pixels to each side that are looked at; None: all of the statistics'."""

    def __init__(self, statistics: PatchStatistics, components: int, device: torch.device) -> None:
        self._statistics = statistics if self.radius is None else statistics.reduced(components, self.radius)
        self._means = self._statistics.means(components).float().to(device)
        self._fitted: dict[tuple[int, ...], LinearGuess] = {}

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        given = torch.where(known.observed, known.images, self._means[:, None, None])
        return guess(given, LinearGuess(*(each.expand(len(given), *each.shape) for each in self._fit(known.keep))))

    def _fit(self, keep: tuple[int, ...]) -> LinearGuess:
        if keep not in self._fitted:
            kept = torch.zeros(len(self._means), dtype=torch.bool)
            kept[list(keep)] = True
            self._fitted[keep] = LinearGuess(*(each.to(self._means.device) for each in linear_guess(self._statistics, kept)))
        return self._fitted[keep]


class Linear5(Linear):
    """Least squares from the kept components of the 5 x 5 pixels around."""

    name = "linear5"
    radius = None
