"""Which simple predictors a scenario has, and how they are fitted to training images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from vqkit.evaluation.floors.kriging import Kriging
from vqkit.evaluation.floors.linear import Linear, Linear5, neighbourhoods
from vqkit.evaluation.floors.nearest import Nearest, Nearest10, TrainingDistances
from vqkit.evaluation.floors.predictors import Copy, Known, Mean, MeanImage, Predictor, Surrounding
from vqkit.evaluation.floors.smooth import Biharmonic, Harmonic
from vqkit.evaluation.floors.training_sample import TrainingSample, copying_errors, pixel_means
from vqkit.evaluation.mask_scenarios import MaskScenario
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.interfaces import DataSpec, Split


def floor_names(scenario: MaskScenario, spec: DataSpec) -> tuple[str, ...]:
    """The floors of a scenario, in the order of tables; none where nothing is missing."""
    if scenario.mask_kind is not None:
        smooth = Harmonic.name, Biharmonic.name, Kriging.name
        return Surrounding.name, *smooth, MeanImage.name, Nearest.name, Nearest10.name
    if len(scenario.keep) == len(spec.components):
        return ()
    linear = () if spec.value_kind == "binary" else (Linear.name, Linear5.name)
    return Mean.name, MeanImage.name, Copy.name, *linear, Nearest.name, Nearest10.name


class FittedFloors:
    """Simple predictors by `names`, fitted to training images. `spec`: the model's, whose ranges give unit values."""

    def __init__(
        self,
        training: Split,
        spec: DataSpec,
        names: Collection[str],
        device: torch.device = torch.device("cpu"),
        progress: Progress = no_progress,
    ) -> None:
        self._predictors = _fit(TrainingSample(training, spec, device, progress), names)
        ends = [(0.0, 1.0) if each.kind == "binary" else each.unit_bounds for each in spec.component_specs]
        self._bounds = torch.tensor(ends, device=device).T[:, :, None, None]

    def prepare(self, images: Tensor, present: Tensor) -> None:
        """To be called once with every batch of images float [B, C, H, W] and what is present of them, before `complete`."""
        for predictor in self._predictors.values():
            predictor.prepare(images, present)

    def complete(self, name: str, known: Known) -> Tensor:
        """Expected values float [B, C, H, W], within what the training data ever held, as those of a model are."""
        low, high = self._bounds
        return torch.maximum(torch.minimum(self._predictors[name].predict(known), high), low)

    def sources(self, name: str, keep: tuple[int, ...], components: Sequence[str]) -> dict[str, str]:
        """See `Predictor.sources`."""
        return self._predictors[name].sources(keep, components)


def _fit(sample: TrainingSample, names: Collection[str]) -> dict[str, Predictor]:
    spec, device = sample.spec, sample.device
    means, pixels = pixel_means(sample)
    fits: dict[tuple[str, ...], Callable[[], Sequence[Predictor]]] = {
        (Mean.name, MeanImage.name, Surrounding.name): lambda: (Mean(means), MeanImage(pixels), Surrounding(means)),
        (Copy.name,): lambda: (Copy(copying_errors(sample), means),),
        (Linear.name, Linear5.name): lambda: _regressions(sample, len(spec.components), device),
        (Nearest.name, Nearest10.name): lambda: _neighbours(TrainingDistances(sample, means)),
        (Kriging.name,): lambda: (Kriging(sample, means),),
        (Harmonic.name, Biharmonic.name): lambda: [each(means, spec.height, spec.width) for each in (Harmonic, Biharmonic)],
    }
    fitted = [predictor for group, fit in fits.items() if any(name in names for name in group) for predictor in fit()]
    return {predictor.name: predictor for predictor in fitted if predictor.name in names}


def _regressions(sample: TrainingSample, components: int, device: torch.device) -> Sequence[Predictor]:
    statistics = neighbourhoods(sample)
    return [each(statistics, components, device) for each in (Linear, Linear5)]


def _neighbours(distances: TrainingDistances) -> Sequence[Predictor]:
    return Nearest(distances), Nearest10(distances)
