"""Metrics of a masking scenario by component name, and sentences on those that mean less than they seem to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vqkit.evaluation.error_meter import ComponentErrors, Errors
from vqkit.evaluation.mask_scenarios import MaskKind, MaskScenario
from vqkit.evaluation.variance import Variances
from vqkit.interfaces import ComponentSpec, DataSpec


@dataclass(frozen=True)
class ComponentMetrics:
    """Errors of one component over the `images` in which anything of it was judged.

    `mse` over all pixels together, in unit values; `relative_error`: that divided by the variance of the component in all evaluated
    images, None where it is constant; `pooled_psnr` (decibels): of the `mse`; `psnr` and `ssim` of each image, averaged over
    images. `rmse` and `mae` over all pixels together, in stored values, whose name is `unit`: None for binary components.
    """

    images: int
    mse: float
    relative_error: float | None
    psnr: float
    pooled_psnr: float
    ssim: float
    rmse: float | None
    mae: float | None
    unit: str


@dataclass(frozen=True, kw_only=True)
class MissingPartMetrics:
    """Errors on what was missing in one scenario (on everything where nothing was).

    `images` were counted: those that hold what is kept, and anything to judge. `mse` over all pixels together; `pooled_psnr`
    (decibels): of the `mse`; `psnr` and `ssim` of each image, averaged over images. Of mixed components, these are of the
    intensities. None where nothing was judged. `components`: errors of each that was judged. `iou` and `dice` of each binary
    component, averaged over images, and `mean_iou` and `mean_dice` over these components: empty and None where there are none.
    """

    images: int
    mse: float | None
    psnr: float | None
    pooled_psnr: float | None
    ssim: float | None
    components: dict[str, ComponentMetrics]
    iou: dict[str, float]
    dice: dict[str, float]
    mean_iou: float | None
    mean_dice: float | None


@dataclass(frozen=True, kw_only=True)
class FloorMetrics(MissingPartMetrics):
    """Errors of a simple predictor, by name; `sources`: of each missing component the kept one that was copied, of `copy`."""

    name: str
    sources: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ScenarioMetrics(MissingPartMetrics):
    """Errors of a model in one scenario, and of simple predictors (`floors`) on the same pixels, where they were measured.

    `name` of the scenario, names of the components of which anything was kept and of those that were missing as a whole, and the
    kind of its mask of pixels.
    """

    name: str
    keep: tuple[str, ...]
    missing: tuple[str, ...]
    mask_kind: MaskKind | None
    floors: tuple[FloorMetrics, ...]


def scenario_metrics(
    scenario: MaskScenario, errors: Errors, variances: Variances, spec: DataSpec, floors: Sequence[FloorMetrics] = ()
) -> ScenarioMetrics:
    """Errors of a model by component name, beside those of simple predictors."""
    keep = tuple(spec.components[position] for position in scenario.keep)
    return ScenarioMetrics(
        name=scenario.name,
        keep=keep,
        missing=tuple(name for name in spec.components if name not in keep),
        mask_kind=scenario.mask_kind,
        floors=tuple(floors),
        **_by_name(errors, variances, spec),
    )


def floor_metrics(name: str, sources: dict[str, str], errors: Errors, variances: Variances, spec: DataSpec) -> FloorMetrics:
    """Errors of a simple predictor by component name."""
    return FloorMetrics(name=name, sources=sources, **_by_name(errors, variances, spec))


def _by_name(errors: Errors, variances: Variances, spec: DataSpec) -> dict[str, Any]:
    """The fields of `MissingPartMetrics`.

    A component of which nothing was judged, such as one that was kept, has no errors and is left out.
    """
    judged = {
        each.name: (each, found, variance)
        for each, found, variance in zip(spec.component_specs, errors.components, variances.components, strict=True)
        if found.images
    }
    iou = {name: found.iou for name, (each, found, _) in judged.items() if each.kind == "binary"}
    dice = {name: found.dice for name, (each, found, _) in judged.items() if each.kind == "binary"}
    return {
        "images": errors.images,
        "mse": known(errors.mse),
        "psnr": known(errors.psnr),
        "pooled_psnr": known(errors.pooled_psnr),
        "ssim": known(errors.ssim),
        "components": {name: component_metrics(*values) for name, values in judged.items()},
        "iou": iou,
        "dice": dice,
        "mean_iou": _mean(iou),
        "mean_dice": _mean(dice),
    }


def component_metrics(spec: ComponentSpec, errors: ComponentErrors, variance: float) -> ComponentMetrics:
    """Errors of a component that was judged in some image, beside its variance in all images."""
    return ComponentMetrics(
        images=errors.images,
        mse=errors.mse,
        relative_error=relative_error(errors.mse, variance),
        psnr=errors.psnr,
        pooled_psnr=errors.pooled_psnr,
        ssim=errors.ssim,
        rmse=known(errors.rmse),
        mae=known(errors.mae),
        unit=spec.unit,
    )


def notes(full: ScenarioMetrics, parts: Sequence[ScenarioMetrics], variances: Variances, spec: DataSpec) -> Iterator[str]:
    """Sentences on constant components, on scenarios without images, and on errors larger than those of a constant picture."""
    constant = {
        each.name: each.kind for each, value in zip(spec.component_specs, variances.constant, strict=True) if value is not None
    }
    flat = [name for name, kind in constant.items() if kind == "intensity"]
    if flat:
        yield f"{_components(flat)} constant in these images; {'its' if len(flat) == 1 else 'their'} PSNR means nothing."
    shapes = [name for name, kind in constant.items() if kind == "binary"]
    if shapes:
        only = "its IoU only says" if len(shapes) == 1 else "their IoU only says"
        yield f"{_components(shapes)} the same in all pixels of these images; {only} in how many the model agrees."
    absent = [name for name, value in zip(spec.components, variances.components, strict=True) if math.isnan(value)]
    if absent:
        yield f"{_components(absent)} absent from all of these images."
    for part in parts:
        if not part.images:
            yield f"No image holds both what '{part.name}' keeps and anything that is missing there."
    for part in (full, *parts):
        names = [name for name, each in part.components.items() if name not in part.iou and (each.relative_error or 0) >= 1]
        if names:
            yield f"{part.name}: a constant picture has no larger error in {', '.join(names)} (MSE / variance 1 or more)."


def relative_error(mse: float | None, variance: float) -> float | None:
    """MSE divided by the variance; None where one of them is unknown, or where all pixels are equal."""
    return None if mse is None or not variance > 0 else mse / variance


def known(value: float) -> float | None:
    """The value, None in place of NaN."""
    return None if math.isnan(value) else value


def _mean(values: dict[str, float]) -> float | None:
    return sum(values.values()) / len(values) if values else None


def _components(names: Sequence[str]) -> str:
    """`The component a is` or `The components a, b are`."""
    return f"The component {names[0]} is" if len(names) == 1 else f"The components {', '.join(names)} are"
