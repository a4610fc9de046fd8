"""Whether a model is better than simple predictors on the same images, in words.

Compared are the mean IoU where only shapes are judged, and else the pooled PSNR: averaged decibels reward a model that is very good
in the easiest images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vqkit.evaluation.scenario_metrics import FloorMetrics, MissingPartMetrics, ScenarioMetrics


def compares_shapes(part: MissingPartMetrics) -> bool:
    """Whether a scenario is compared by the mean IoU: where nothing but shapes is judged."""
    return part.mean_iou is not None and len(part.iou) == len(part.components)


def compared_figure(part: MissingPartMetrics) -> float | None:
    """The mean IoU, or the pooled PSNR in decibels: of two, the larger one is better. None where nothing was judged."""
    return part.mean_iou if compares_shapes(part) else part.pooled_psnr


def best_floor(part: ScenarioMetrics) -> FloorMetrics | None:
    """The simple predictor with the best figure in a scenario, None where none was measured."""
    return best_of(part.floors)


def best_of(floors: Sequence[FloorMetrics]) -> FloorMetrics | None:
    """The best of several simple predictors in one scenario, None where none was measured."""
    measured = [floor for floor in floors if compared_figure(floor) is not None]
    return max(measured, key=lambda floor: compared_figure(floor) or 0.0, default=None)


def below_floors(parts: Sequence[ScenarioMetrics]) -> Iterator[str]:
    """A sentence for each scenario in which a simple predictor fills in better than the model, by a difference that can be seen."""
    for part in parts:
        floor = best_floor(part)
        if floor is not None:
            best, own = compared_figure(floor), compared_figure(part)
            if best is not None and own is not None and best > own:
                theirs, ours = (f"IoU {value:.4f}" if compares_shapes(part) else f"{value:.2f} dB" for value in (best, own))
                if theirs != ours:
                    yield f"{part.name}: {floor.name} fills in better ({theirs}, the model {ours})."
