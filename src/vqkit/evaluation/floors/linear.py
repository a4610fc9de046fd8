"""Linear regression of missing components from the kept ones, of the same pixel or of the 5 x 5 around it."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.evaluation.floors.predictors import Known, Predictor
from vqkit.evaluation.floors.training_sample import TrainingSample
from vqkit.layers.linear_guess import PatchStatistics, guess, linear_weights, measure_patches, patch_stride


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
        chosen = statistics if self.radius is None else statistics.reduced(components, self.radius)
        around = len(chosen.mean) // components
        self._statistics, self._device = chosen, device
        means = chosen.mean.view(components, 1, round(around**0.5), -1)
        centres = means.flatten(1)[:, around // 2]
        self._means = centres.float().to(device)
        # Near the borders of images the pixels of a neighbourhood need not have the mean of the one in its centre.
        self._beside = (centres[:, None, None] - means[:, 0]).float().to(device)
        self._fitted: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        weights, shift = self._fit(known.keep)
        given = torch.where(known.observed, known.images, self._means[:, None, None])
        return guess(given, weights.expand(len(given), -1, -1, -1, -1), self._means) + shift

    def _fit(self, keep: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Weights [C, C, side, side] of the kept components, and what is to be added to the `guess`, [C, 1, 1]."""
        if keep not in self._fitted:
            kept = torch.zeros(len(self._means), dtype=torch.bool)
            kept[list(keep)] = True
            weights = linear_weights(self._statistics, kept).to(self._device)
            self._fitted[keep] = weights, (weights * self._beside).sum((1, 2, 3))[:, None, None]
        return self._fitted[keep]


class Linear5(Linear):
    """Least squares from the kept components of the 5 x 5 pixels around."""

    name = "linear5"
    radius = None
