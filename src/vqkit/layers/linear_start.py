"""Where the filling in of intensities starts: the best linear guess from what is observed, whatever its shape.

- A component that is missing as a whole is guessed from the neighbourhood in those of which something is observed
  (`vqkit.layers.linear_guess`).
- A hole in a component is guessed from the components that are observed everywhere in the hole, corrected so that the guess
  continues what is known around it (`vqkit.layers.harmonic`).
- Where no component is, a hole is the best linear guess from the pixels around it (`vqkit.layers.kriging`), along the edges that
  these suggest (`vqkit.layers.candidate_covariances`).

Shapes: B images, C components, H x W pixels, N pixels of a neighbourhood; unit values.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from vqkit.layers.candidate_covariances import CandidateCovariances
from vqkit.layers.compiling import never_compiled
from vqkit.layers.harmonic import STEPS, fill_smoothly
from vqkit.layers.kriging import fill_by_kriging
from vqkit.layers.linear_guess import LinearGuess, PatchStatistics, guess, linear_guess
from vqkit.layers.spatial_covariance import SpatialCovariance

_REMEMBERED = 1024
"""Sets of kept components whose guesses are remembered."""


class LinearStart(nn.Module):
    """The linear guess of images, from statistics of the training images that are part of the model's state.

    `bounds` [C, 2]: the least and the largest value of each component in the training data, which no guess leaves.

    `patch_mean` float64 [C * N] and `patch_covariance` float64 [C * N, C * N]: see `PatchStatistics`; `covariance_amplitudes`: see
    `SpatialCovariance`. Before they are measured the guess is one half. `steps`: of the solver that continues holes smoothly.
    `kriging` False: all holes are continued smoothly, as in graphs (`vqkit.layers.tabulated_start`).
    """

    patch_mean: Tensor
    patch_covariance: Tensor
    covariance_amplitudes: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, bounds: Tensor) -> None:
        super().__init__()
        components = self.components = len(bounds)
        self.steps, self.kriging = STEPS, True
        self.register_buffer("lowest", bounds[:, 0, None, None], persistent=False)
        self.register_buffer("highest", bounds[:, 1, None, None], persistent=False)
        nothing = PatchStatistics.unknown(components)
        self.register_buffer("patch_mean", nothing.mean)
        self.register_buffer("patch_covariance", nothing.covariance)
        self.register_buffer("covariance_amplitudes", SpatialCovariance.unknown(components).amplitudes)
        self._guesses: OrderedDict[tuple[bool, ...], LinearGuess] = OrderedDict()
        self._version = -1
        self._candidates: CandidateCovariances | None = None

    @torch.no_grad()
    def set_statistics(self, statistics: PatchStatistics, covariance: SpatialCovariance) -> None:
        """Take over the statistics of the training images."""
        self.patch_mean.copy_(statistics.mean)
        self.patch_covariance.copy_(statistics.covariance)
        self.covariance_amplitudes.copy_(covariance.amplitudes)

    @never_compiled
    @torch.no_grad()
    def forward(self, images: Tensor, observed: Tensor) -> Tensor:
        """Guesses float32 [B, C, H, W] of images, of which only what is `observed` (bool [B, C, H, W]) is used."""
        with torch.autocast(images.device.type, enabled=False):
            some = observed.flatten(2).any(dim=2)
            partly = some & ~observed.flatten(2).all(dim=2)
            if bool(partly.any()):
                covering = _covering(observed)
                values = self._continued(images, observed, partly & ~covering.any(dim=2))
                result = self._guess_holes(guess(values, self._guess_from(some)), values, observed, covering & partly[..., None])
            else:
                result = guess(torch.where(observed, images.float(), 0), self._guess_from(some))
            return torch.where(observed, images.float(), result.clamp(self.lowest, self.highest))

    def _continued(self, images: Tensor, observed: Tensor, alone: Tensor) -> Tensor:
        """Images with the holes in components of which something is observed filled in from that component alone.

        `alone` bool [B, C]: those of which nothing better will be known.
        """
        if not self.kriging:
            return fill_smoothly(images, observed, self.steps)
        covariance = SpatialCovariance(self.covariance_amplitudes)
        means = self.statistics.means(self.components)
        values, done = fill_by_kriging(images, observed, alone, covariance, means, self._candidates_of(covariance))
        filled = done[:, :, None, None]
        return torch.where(filled, values, fill_smoothly(values, observed | filled, self.steps))

    def _candidates_of(self, covariance: SpatialCovariance) -> CandidateCovariances:
        """The candidates of a covariance; the last ones are remembered."""
        last = self._candidates
        if (
            last is None
            or last.covariance.amplitudes.device != covariance.amplitudes.device
            or not torch.equal(*last.covariance, *covariance)
        ):
            last = self._candidates = CandidateCovariances(covariance)
        return last

    def _guess_holes(self, result: Tensor, values: Tensor, observed: Tensor, covering: Tensor) -> Tensor:
        """`result` with the guess of every hole in a component from those `covering` it, bool [B, C, C]."""
        for component in range(self.components):
            rows = covering[:, component].any(dim=1).nonzero()[:, 0]
            if not len(rows):
                continue
            seen = observed[rows][:, component : component + 1]
            expected = guess(values[rows], self._guess_from(covering[rows, component]))[:, component : component + 1]
            error = fill_smoothly(values[rows][:, component : component + 1] - expected, seen, self.steps)
            result[rows, component] = (expected + error)[:, 0]
        return result

    @property
    def statistics(self) -> PatchStatistics:
        """The statistics of the training images."""
        return PatchStatistics(self.patch_mean, self.patch_covariance)

    @property
    def mean(self) -> Tensor:
        """The mean of each component, float32 [C]."""
        return self.statistics.means(self.components).float()

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each component, float32 [C]; at least a thousandth of the range."""
        return self.statistics.variances(self.components).sqrt().float().clamp_min(1e-3)

    def standardised(self, values: Tensor) -> Tensor:
        """Values [B, C, H, W] with mean 0 and deviation 1; beyond three deviations they grow with their logarithm only."""
        scores = (values.float() - self.mean[:, None, None]) / self.deviation[:, None, None]
        inner = scores.clamp(-3, 3)
        return inner + (scores - inner).sign() * (scores - inner).abs().log1p()

    def _guess_from(self, kept: Tensor) -> LinearGuess:
        """How each image is guessed from the components that it keeps, bool [B, C]."""
        if self._version != self.patch_covariance._version:
            self._guesses.clear()
            self._version = self.patch_covariance._version
        each = [self._remembered(tuple(row)) for row in kept.tolist()]
        return LinearGuess(*(torch.stack(parts).to(self.patch_mean.device) for parts in zip(*each, strict=True)))

    def _remembered(self, kept: tuple[bool, ...]) -> LinearGuess:
        if kept in self._guesses:
            self._guesses.move_to_end(kept)
        else:
            on_cpu = PatchStatistics(*(each.cpu() for each in self.statistics))
            self._guesses[kept] = linear_guess(on_cpu, torch.tensor(kept))
            if len(self._guesses) > _REMEMBERED:
                self._guesses.popitem(last=False)
        return self._guesses[kept]


def _covering(observed: Tensor) -> Tensor:
    """Which components (last) are observed wherever a component is not, bool [B, C, C]; no component covers itself."""
    missing = (~observed).flatten(2).float()
    covering: Tensor = missing @ missing.transpose(1, 2) == 0
    return covering & ~torch.eye(observed.shape[1], dtype=torch.bool, device=observed.device)
