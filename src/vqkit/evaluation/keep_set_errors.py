"""How much is still unknown of images once a set of components was measured: errors that can be compared between such sets.

The error of a keep-set is the mean, over the components that are not known at the start, of each one's error when it is filled in
from the keep-set: 1 - IoU of a binary component, MSE / variance of an intensity (the figures of `vqkit evaluate`; both are 0 where
nothing is wrong and near 1 where nothing is known). A component of the keep-set is measured, so its own error is 0.

Why not the mean over what is still missing, which `vqkit evaluate` reports for one keep-set? It is over other components for every
keep-set: measuring the hardest component would seem to help by taking it out of the mean, measuring the easiest one to harm.
For the same reason every keep-set is judged on the same images, those that hold all components.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vqkit.errors import DataError
from vqkit.evaluation.error_meter import ComponentErrors, ErrorMeter
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.variance import VarianceMeter, Variances
from vqkit.inference.pipeline import Conditions, Pipeline
from vqkit.inference.postprocess import fill_missing
from vqkit.interfaces import Batch, where_present

KeepSet = tuple[int, ...]
"""Positions of components that are kept together, ascending."""
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class RemainingError:
    """Error of one component that is filled in: see the module. `iou` of a binary component, `rmse` of an intensity, in stored
    values; None for the other kind."""

    error: float
    iou: float | None
    rmse: float | None


@dataclass(frozen=True)
class KeepSetError:
    """What is unknown once the components `keep` were measured.

    `error`: the mean over all components that were not known at the start, those of `keep` with 0. `components`: the error of each
    that is still missing; one that is constant in the images (an intensity without variance) has none and counts nowhere.
    """

    keep: tuple[str, ...]
    error: float
    components: dict[str, RemainingError]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class KeepSetErrors:
    """Errors of keep-sets on the same images, each measured once: in one pass of the model over each image.

    `batches` gives the images every time it is called: stored values [B, C, H, W], `present` where there is something to observe
    or to judge; images that do not hold all components are left out. `known`: positions of the components that are known at the
    start, which are in every keep-set. `count`: about how many images there are, for `progress`. `images`: how many were used.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        batches: Callable[[], Iterable[Batch]],
        known: KeepSet,
        count: int,
        conditions: Conditions | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self._pipeline, self._batches, self._count = pipeline, batches, count
        self._conditions, self._progress = conditions, progress
        self._judged = torch.ones(len(pipeline.spec.components), dtype=torch.bool)
        self._judged[list(known)] = False
        self._measured: dict[KeepSet, KeepSetError] = {}
        self._variances: Variances | None = None
        self.images = 0

    @property
    def measured(self) -> list[KeepSetError]:
        """Errors of all keep-sets measured so far, the smallest first."""
        return [self._measured[kept] for kept in sorted(self._measured, key=lambda kept: (len(kept), kept))]

    @property
    def constant(self) -> tuple[str, ...]:
        """Intensities with the same value in all pixels of the images, of those that are not known: they have no error."""
        values = self._variances.constant if self._variances is not None else ()
        each = zip(self._pipeline.spec.component_specs, values, self._judged.tolist(), strict=False)
        return tuple(spec.name for spec, value, judged in each if judged and spec.kind == "intensity" and value is not None)

    def measure(self, keep_sets: Sequence[KeepSet], what: str = "filled in") -> list[KeepSetError]:
        """The errors of these keep-sets, in their order; the images are read once for all that were not measured before.

        Raises `DataError` when no image holds all components, or when all components that are not known are constant.
        """
        new = [kept for kept in dict.fromkeys(keep_sets) if kept not in self._measured]
        if new:
            self._measure(new, what)
        return [self._measured[kept] for kept in keep_sets]

    def _measure(self, keep_sets: Sequence[KeepSet], what: str) -> None:
        spec = self._pipeline.spec
        meters = {kept: ErrorMeter(spec, _CPU) for kept in keep_sets if self._is_missing(kept).any()}
        variance = VarianceMeter(spec, _CPU) if self._variances is None else None
        with self._progress(what, self._count * len(meters)) as advance:
            for batch in self._batches() if meters or variance is not None else ():
                held = batch.observed.flatten(2).any(dim=2).all(dim=1)
                whole = _rows(batch, held)
                unit = whole.to(_CPU, spec).images
                if variance is not None and len(unit):
                    variance.add(unit, whole.observed)
                for kept, meter in meters.items():
                    if len(unit):
                        self._add(meter, kept, unit, whole)
                    advance(len(held))
        if variance is not None:
            self._variances = variance.result()
            self._check(self._variances)
        for kept in keep_sets:
            self._measured[kept] = self._result(kept, meters.get(kept))

    def _is_missing(self, kept: KeepSet) -> Tensor:
        """The components that are filled in from a keep-set, bool [C]."""
        missing = self._judged.clone()
        missing[list(kept)] = False
        return missing

    @torch.inference_mode()
    def _add(self, meter: ErrorMeter, kept: KeepSet, unit: Tensor, batch: Batch) -> None:
        """Fill in images from a keep-set and add the errors; `unit` float [B, C, H, W]: the images of the batch in unit values."""
        spec, present = self._pipeline.spec, batch.observed
        judged = self._is_missing(kept)[:, None, None] & present
        chosen = torch.zeros(len(spec.components), dtype=torch.bool)
        chosen[list(kept)] = True
        observed = chosen[:, None, None] & present
        expected = self._pipeline.fill_unit(unit, observed, self._conditions, wanted=judged)
        filled = where_present(torch.where(observed, unit, expected), present)
        final = None if spec.value_kind == "intensity" else fill_missing(expected, unit, observed, spec)
        meter.add(filled, unit, judged, final, batch.images)

    def _check(self, variances: Variances) -> None:
        """Raise `DataError` unless there is something to judge."""
        if math.isnan(variances.components[0]):
            raise DataError(
                "None of the images holds all components, so what they tell about each other cannot be compared.",
                "Give images that hold all of them with --data, or more of them with --limit.",
            )
        judged = int(self._judged.sum())
        if len(self.constant) == judged:
            raise DataError(
                f"{', '.join(self.constant)} {'is' if judged == 1 else 'are'} constant in these images; nothing else is missing.",
                "Give images in which they vary with --data, or more of them with --limit.",
            )

    def _result(self, kept: KeepSet, meter: ErrorMeter | None) -> KeepSetError:
        spec = self._pipeline.spec
        names = tuple(spec.components[position] for position in kept)
        if meter is None:
            return KeepSetError(names, 0.0, {})
        errors, missing = meter.result(), self._is_missing(kept).tolist()
        self.images = errors.images
        assert self._variances is not None
        constant = self.constant
        components = {
            each.name: _remaining(found, variance, each.kind == "binary")
            for each, found, variance, filled in zip(
                spec.component_specs, errors.components, self._variances.components, missing, strict=True
            )
            if filled and each.name not in constant
        }
        total = math.fsum(each.error for each in components.values())
        return KeepSetError(names, total / (int(self._judged.sum()) - len(constant)), components)


def _rows(batch: Batch, chosen: Tensor) -> Batch:
    """The images of a batch at which `chosen`, bool [B], is True, with `present` of their shape."""
    return batch._replace(present=batch.observed).map(lambda tensor: tensor[chosen])


def _remaining(errors: ComponentErrors, variance: float, binary: bool) -> RemainingError:
    if binary:
        return RemainingError(1 - errors.iou, errors.iou, None)
    return RemainingError(errors.mse / variance, None, errors.rmse)
