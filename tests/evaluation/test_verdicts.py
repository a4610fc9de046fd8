"""Whether a model is better than simple predictors, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from vqkit.evaluation.scenario_metrics import ComponentMetrics, FloorMetrics, ScenarioMetrics
from vqkit.evaluation.verdicts import below_floors, best_floor, compares_shapes

NAMES = ("b02", "b08")


def figures(pooled: float | None, iou: dict[str, float], averaged: float = 99.0) -> dict[str, Any]:
    one = ComponentMetrics(3, 0.1, 0.5, 10.0, 10.0, 0.5, None, None, "")
    return {
        "images": 3,
        "mse": None if pooled is None else 10 ** (-pooled / 10),
        "psnr": averaged,
        "pooled_psnr": pooled,
        "ssim": 0.9,
        "components": dict.fromkeys(NAMES, one),
        "iou": iou,
        "dice": iou,
        "mean_iou": sum(iou.values()) / len(iou) if iou else None,
        "mean_dice": None,
    }


def floor(name: str, pooled: float | None, **iou: float) -> FloorMetrics:
    return FloorMetrics(name=name, sources={}, **figures(pooled, iou))


def scenario(pooled: float | None, floors: tuple[FloorMetrics, ...], **iou: float) -> ScenarioMetrics:
    own = figures(pooled, iou, averaged=120.0)
    return ScenarioMetrics(name="keep b02", keep=("b02",), missing=("b08",), mask_kind=None, floors=floors, **own)


def test_intensities_are_compared_by_the_pooled_psnr() -> None:
    part = scenario(16.8, (floor("mean", 12.1), floor("linear5", 21.95), floor("nearest", 13.0)))
    best = best_floor(part)
    assert best is not None
    assert best.name == "linear5"
    assert list(below_floors([part])) == ["keep b02: linear5 fills in better (21.95 dB, the model 16.80 dB)."]
    assert list(below_floors([replace(part, pooled_psnr=22.0)])) == []
    assert list(below_floors([replace(part, pooled_psnr=21.949)])) == [], "both are 21.95 dB"


def test_shapes_are_compared_by_the_mean_iou() -> None:
    part = scenario(30.0, (floor("mean", 10.0, b02=0.2, b08=0.3), floor("nearest", 9.0, b02=0.8, b08=0.7)), b02=0.6, b08=0.7)
    assert compares_shapes(part)
    assert list(below_floors([part])) == ["keep b02: nearest fills in better (IoU 0.7500, the model IoU 0.6500)."]
    assert list(below_floors([replace(part, mean_iou=0.75)])) == [], "as good is not worse"


def test_of_mixed_components_the_intensities_are_compared() -> None:
    part = scenario(20.0, (floor("copy", 21.0, b02=0.1),), b02=0.9)
    assert not compares_shapes(part)
    assert list(below_floors([part])) == ["keep b02: copy fills in better (21.00 dB, the model 20.00 dB)."]


@pytest.mark.parametrize("pooled", [None, 20.0])
def test_nothing_is_said_where_nothing_was_measured(pooled: float | None) -> None:
    assert best_floor(scenario(pooled, ())) is None
    assert best_floor(scenario(pooled, (floor("mean", None),))) is None
    assert list(below_floors([scenario(pooled, ())])) == []
    assert list(below_floors([scenario(None, (floor("mean", 20.0),))])) == []
