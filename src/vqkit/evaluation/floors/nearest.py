"""The nearest training images: what they hold in place of what is missing.

Shapes: B images, N training images, C components, H x W pixels. Everything is in unit values.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.evaluation.floors.predictors import Known, Predictor
from vqkit.evaluation.floors.training_sample import TrainingSample


class TrainingDistances:
    """Mean squared distances of partly known images to training images, over pixels that are known in one and held by the other.

    `means` [C] of the training images: values are compared around them, so that small numbers lose few digits.
    """

    def __init__(self, sample: TrainingSample, means: Tensor) -> None:
        self.sample, self.means = sample, means
        self._whole = sample.whole
        self._images = self._squares = self._shared = torch.empty(0)
        self._last: tuple[Known, Tensor] | None = None

    def prepare(self, images: Tensor, present: Tensor) -> None:
        """Compare each component of a batch by itself, once for all keep-sets: squares and shared pixels, float [C, B, N]."""
        if images is not self._images:
            self._images, self._last = images, None
            values, there = (_grouped(each, images.shape[1]) for each in self._centred(images, present))
            self._squares, self._shared = self._compare(values, there)

    def to(self, known: Known) -> Tensor:
        """Distances float [B, N]; infinite to a training image that holds nothing of a kept component, or of what is visible."""
        if self._last is None or self._last[0] is not known:
            self._last = known, self._by_component(list(known.keep)) if known.missing else self._visible(known)
        return self._last[1]

    def _by_component(self, keep: list[int]) -> Tensor:
        shared = self._shared[keep]
        mean = self._squares[keep].sum(0) / shared.sum(0).clamp_min(1)
        return torch.where((shared > 0).all(0), mean, torch.inf)

    def _visible(self, known: Known) -> Tensor:
        values, there = (_grouped(each, 1) for each in self._centred(known.images, known.observed))
        squares, shared = self._compare(values, there)
        return torch.where(shared > 0, squares / shared.clamp_min(1), torch.inf)[0]

    def _centred(self, images: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(present, images - self.means[:, None, None], 0), present.float()

    def _compare(self, values: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of squared differences to all training images, and the numbers of pixels that both have: float [G, B, N] each.

        `values`, `there` float [G, B, P]: of G groups of P pixels, C groups of one component or one of all components.
        """
        squares, shared = [], []
        complete = bool(there.all())
        for images, present in self.sample.chunks():
            others, theirs = (_grouped(each, len(values)) for each in self._centred(images, present))
            cross = values @ others.transpose(1, 2)
            mine = _weighted(values.square(), theirs, self._whole)
            rest = _weighted(others.square(), there, complete).transpose(1, 2)
            squares.append(mine + rest - 2 * cross)
            shared.append(_weighted(there, theirs, self._whole).expand_as(cross))
        return torch.cat(squares, dim=2), torch.cat(shared, dim=2)


class Nearest(Predictor):
    """What the nearest training image holds.

    Each missing component comes from the nearest of the training images that hold it, if they are not the same. Where there is no
    such image, and where the nearest has a gap, the training mean is taken.
    """

    name = "nearest"
    count = 1
    """Training images whose mean is taken."""

    def __init__(self, distances: TrainingDistances) -> None:
        self._distances, self._sample, self._means = distances, distances.sample, distances.means
        self._holds = torch.cat([present.flatten(2).any(2) for _, present in self._sample.chunks()])  # [N, C]

    def prepare(self, images: Tensor, present: Tensor) -> None:
        """See `Predictor.prepare`."""
        self._distances.prepare(images, present)

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        distances = self._distances.to(known)
        expected = self._means[:, None, None].expand(known.images.shape).clone()
        wanted = known.missing or tuple(range(known.images.shape[1]))
        for components in [wanted] if bool(self._holds.all()) else [(component,) for component in wanted]:
            candidates = distances.masked_fill(~self._holds[:, list(components)].all(1), torch.inf)
            expected[:, list(components)] = self._mean_of_nearest(candidates, components)
        return expected

    def _mean_of_nearest(self, distances: Tensor, components: Sequence[int]) -> Tensor:
        """The mean of these components of the training images at the least distances [B, N]: float [B, n, H, W]."""
        nearest, rows = distances.topk(min(self.count, distances.shape[1]), dim=1, largest=False)
        total = count = torch.zeros((), device=distances.device)
        for distance, row in zip(nearest.T, rows.T, strict=True):
            images, present = self._sample.at(row.cpu(), components)
            taken = present & distance.isfinite()[:, None, None, None]
            total, count = total + torch.where(taken, images, 0), count + taken
        return torch.where(count > 0, total / count.clamp_min(1), self._means[list(components), None, None])


class Nearest10(Nearest):
    """The mean of the ten nearest training images."""

    name = "nearest10"
    count = 10


def _grouped(images: Tensor, groups: int) -> Tensor:
    """Images [N, C, H, W] as [groups, N, P]: a group for each component, or one for all."""
    return images.flatten(1)[None] if groups == 1 else images.transpose(0, 1).flatten(2)


def _weighted(values: Tensor, weights: Tensor, everywhere: bool) -> Tensor:
    """Values [G, B, P] summed over the pixels that weights [G, N, P] name: [G, B, N], or [G, B, 1] where that is `everywhere`."""
    return values.sum(2, keepdim=True) if everywhere else values @ weights.transpose(1, 2)
