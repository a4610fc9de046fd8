"""The contract of simple predictors, and those that look at one pixel at a time.

Shapes: B images, C components, H x W pixels. Everything is in unit values.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor


class Known(NamedTuple):
    """All that a predictor may look at: `images` float [B, C, H, W], 0 where they are not `observed`, bool of that shape.

    `keep`: positions of the components that are kept; all of them where a mask of pixels is missing.
    """

    images: Tensor
    observed: Tensor
    keep: tuple[int, ...]

    @property
    def missing(self) -> tuple[int, ...]:
        """Positions of the components that are missing as a whole."""
        return tuple(position for position in range(self.images.shape[1]) if position not in self.keep)


class Predictor(ABC):
    """A simple way to fill in images."""

    name: ClassVar[str]

    def prepare(self, images: Tensor, present: Tensor) -> None:
        """Called once with every batch of images, before `predict` is called with parts of it. Default: nothing to do."""
        del images, present

    @abstractmethod
    def predict(self, known: Known) -> Tensor:
        """Expected values float [B, C, H, W]; only what is not observed is looked at."""

    def sources(self, keep: tuple[int, ...], components: Sequence[str]) -> dict[str, str]:
        """Of each missing component the kept one that it is taken from, by name; empty where a floor does not choose one."""
        del keep, components
        return {}


class Mean(Predictor):
    """The training mean of each component, `means` [C]."""

    name = "mean"

    def __init__(self, means: Tensor) -> None:
        self._means = means

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        return self._means[:, None, None].expand(known.images.shape)


class MeanImage(Predictor):
    """The training mean of each pixel, `pixels` [C, H, W]."""

    name = "mean-image"

    def __init__(self, pixels: Tensor) -> None:
        self._pixels = pixels

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        return self._pixels.expand(known.images.shape)


class Copy(Predictor):
    """Each missing component is the kept one that has the least error in its place in the training images.

    `errors` float [C, C]: see `copying_errors`; `means` [C]: taken where the kept component is absent.
    """

    name = "copy"

    def __init__(self, errors: Tensor, means: Tensor) -> None:
        self._errors, self._means = errors, means

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        filled = torch.where(known.observed, known.images, self._means[:, None, None])
        expected = filled.clone()
        for component in known.missing:
            expected[:, component] = torch.where(
                known.observed[:, self._source(known.keep, component)],
                filled[:, self._source(known.keep, component)],
                self._means[component],
            )
        return expected

    def sources(self, keep: tuple[int, ...], components: Sequence[str]) -> dict[str, str]:
        """See `Predictor.sources`."""
        missing = [position for position in range(len(components)) if position not in keep]
        return {components[component]: components[self._source(keep, component)] for component in missing}

    def _source(self, keep: tuple[int, ...], component: int) -> int:
        return keep[int(self._errors[list(keep), component].argmin())]


class Surrounding(Predictor):
    """The mean of what is visible of each component of an image; its training mean, `means` [C], where nothing is."""

    name = "surrounding"

    def __init__(self, means: Tensor) -> None:
        self._means = means

    def predict(self, known: Known) -> Tensor:
        """See `Predictor.predict`."""
        total = known.images.flatten(2).sum(2, dtype=torch.float64)
        count = known.observed.flatten(2).sum(2)
        visible = torch.where(count > 0, total / count.clamp_min(1), self._means.double()).float()
        return visible[:, :, None, None].expand(known.images.shape)
