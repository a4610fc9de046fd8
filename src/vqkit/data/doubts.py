"""What looks wrong about a data set: sentences about its components, and about its splits beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from vqkit.data.inspecting import MANY_VALUES, ComponentStatistics, SplitStatistics
from vqkit.interfaces.components import to_unit

_SATURATED = 0.01
"""Share of pixels with the largest value above which a component is saturated."""
_ALMOST_ABSENT = 0.01
_DOMINATED = 0.05
"""Part of the range that holds 98 % of the values, below which outliers dominate it."""
_OUTSIDE = 0.02
_WIDER = 3.0
"""How much further the values of one split may be spread than those of another."""


def doubts(one: SplitStatistics, others: Sequence[SplitStatistics]) -> list[str]:
    """What looks wrong, a sentence each, in one split and in comparison with the others; empty where nothing does."""
    sentences = [sentence for each in one.components for sentence in _component_doubts(each)]
    apart: list[SplitStatistics] = []
    for other in others:
        if not any(_same_images(known, other) for known in (one, *apart)):
            apart.append(other)
    for other in apart:
        pairs = zip(one.components, other.components, strict=True)
        sentences += [sentence for pair in pairs for sentence in _difference(one.split, pair[0], other.split, pair[1])]
    return sentences + _shared_images([one, *apart])


def _component_doubts(component: ComponentStatistics) -> list[str]:
    """The first thing that looks wrong about a component, if any."""
    name, maximum = component.spec.name, component.maximum
    if component.minimum is None or maximum is None:
        return [f"{name} is absent from every image."]
    if component.minimum == maximum:
        what = "empty" if maximum == 0 else "constant"
        return [f"{name} is {what}: {value_text(maximum)} in every pixel that is present."]
    if component.present < _ALMOST_ABSENT:
        return [f"{name} is almost always absent: only {share_text(component.present)} of its pixels are present."]
    if component.spec.kind == "binary":
        return []
    share = share_text(component.at_maximum)
    if component.at_maximum > _SATURATED and component.values >= MANY_VALUES:
        bound = ", the largest value of its type" if maximum == _largest(component.spec.dtype) else ", its largest value"
        return [f"{name} is saturated: {share} of its pixels are {value_text(maximum)}{bound}. What is brighter is cut off."]
    low, _, high = _percentiles(component)
    if high - low < _DOMINATED:
        return [
            f"Outliers dominate the range of {name}, {range_text(component)}: 98 % of its values lie within "
            f"{share_text(high - low)} of it. Set data.range or data.transform."
        ]
    if component.outside > _OUTSIDE:
        return [f"{share_text(component.outside)} of {name} lie outside of its range, {range_text(component)}. Set data.range."]
    return []


def _difference(split: str, one: ComponentStatistics, other_split: str, other: ComponentStatistics) -> list[str]:
    """Whether the values of a component are elsewhere, or spread much further, in one split than in the other."""
    if one.minimum is None or other.minimum is None or one.spec.kind == "binary":
        return []
    (low, middle, high), (other_low, other_middle, other_high) = _percentiles(one), _percentiles(other)
    narrow, wide = sorted((high - low, other_high - other_low))
    if wide <= _WIDER * narrow and abs(middle - other_middle) <= wide:
        return []
    return [
        f"{one.spec.name} differs between {split} and {other_split}: 98 % of its values run from {value_text(one.p1)} to "
        f"{value_text(one.p99)} in {split}, and from {value_text(other.p1)} to {value_text(other.p99)} in {other_split}."
    ]


def _same_images(one: SplitStatistics, other: SplitStatistics) -> bool:
    """Whether one split stands in for another, as validation images do in a set without test images."""
    return {one.split, other.split} == {"val", "test"} and dict(one.digests) == dict(other.digests)


def _shared_images(splits: Sequence[SplitStatistics]) -> list[str]:
    """Which splits have images in common."""
    sentences = []
    for one, other in combinations(splits, 2):
        if _same_images(one, other):
            continue
        known = {digest: name for name, digest in one.digests.items()}
        shared = [(known[digest], name) for name, digest in other.digests.items() if digest in known]
        if shared:
            first = f"{shared[0][0]} ({one.split}) and {shared[0][1]} ({other.split})"
            what = "image is" if len(shared) == 1 else "images are"
            sentences.append(f"{len(shared)} {what} both in {one.split} and in {other.split}, such as {first}.")
    return sentences


def _percentiles(component: ComponentStatistics) -> tuple[float, float, float]:
    """The percentiles 1, 50 and 99 in units of the range, after the component's transform."""
    values = torch.tensor([component.p1, component.p50, component.p99], dtype=torch.float64)
    low, middle, high = to_unit(values.view(3, 1, 1, 1), (component.spec,)).flatten().tolist()
    return low, middle, high


def _largest(dtype: str) -> float:
    """The largest value of a type of whole numbers; infinite for others."""
    kind = np.dtype(dtype)
    return float(np.iinfo(kind).max) if kind.kind in "iu" else math.inf


def range_text(component: ComponentStatistics) -> str:
    """The range of a component with its unit."""
    return f"{value_text(component.spec.low)} to {value_text(component.spec.high)} {component.spec.unit}".rstrip()


def value_text(value: float | None) -> str:
    """A stored value in short; a dash for none."""
    if value is None:
        return "-"
    return f"{value:.0f}" if value == round(value) and abs(value) < 1e7 else f"{value:.4g}"


def share_text(share: float) -> str:
    """A share in per cent; never 0 or 100 unless it is."""
    if 0 < share < 0.0001:
        return "< 0.01 %"
    if 0.999 < share < 1:
        return f"{100 * share:.2f} %" if share < 0.9999 else "> 99.99 %"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.1f} %".replace(".0 %", " %")
