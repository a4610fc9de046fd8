"""Inferring what the values of each component mean from the training images and the settings.

It is decided once for the whole training split, never picture by picture, and only from pixels that are present.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.data.ranges import HIGH_SHARE, LOW_SHARE, ValueCounts
from vqkit.data.rows import Rows
from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.interfaces import DataSpec
from vqkit.interfaces.components import ComponentSpec, Transform, ValueKind

_CHUNK_BYTES = 2**26
"""Images that are counted at once, in bytes."""
_TWO_VALUES = ((0, 1), (0, 255))
"""What a component consists of that is taken to be binary; 0 and 255 only in uint8."""

_FARTHEST = 1e9
"""Unit values beyond which no value may be."""
_THRESHOLDS = (1, 128)
"""From which value on a pixel is set, if the range ends at 1, and if it ends at 255."""

KindChoice = Literal["auto", "binary", "intensity"]
SampledChoice = Literal["auto", "binary", "intensity", "sampled"]
ValueKindChoice = Annotated[
    KindChoice | dict[str, KindChoice],
    Field(
        description="Kind of values, of all components or {NAME: KIND}: binary (thresholded at half of the range), intensity, or "
        "auto: binary if all training values are 0 and 1, or 0 and 255 in 8 bits."
    ),
]
"""The setting `value_kind`."""

SampledKindChoice = Annotated[
    SampledChoice | dict[str, KindChoice],
    Field(
        description="Kind of values, of all components or {NAME: KIND}: binary (thresholded at half of the range), intensity, or "
        "auto: binary if all training values are 0 and 1, or 0 and 255 in 8 bits; sampled: stochastically binarised, each pixel "
        "set with its grey value as probability, anew in each training epoch."
    ),
]
"""The setting `value_kind` of data sets in memory, which can be binarised stochastically."""

Interval = tuple[float, float]
Choice = TypeVar("Choice")


def _interval(given: Any) -> Any:
    """Two numbers, or a mapping of them, for a setting such as `range`; with one sentence for everything else."""
    intervals = given.values() if isinstance(given, Mapping) else () if given is None else (given,)
    for each in intervals:
        if not (isinstance(each, Sequence) and len(each) == 2 and all(isinstance(end, int | float) for end in each)):
            raise ValueError("expected [LOW, HIGH] for all components, or {NAME: [LOW, HIGH]}")
    return given


Intervals = Annotated[Interval | dict[str, Interval] | None, BeforeValidator(_interval)]


class ValueSettings(Settings):
    """Settings of data sets whose values are those of files: what they mean, for all components or, as {NAME: ...}, for some."""

    range: Intervals = Field(
        None,
        description="[LOW, HIGH]: stored values that the model sees as 0 and 1, or {NAME: [LOW, HIGH]}. Default: 0 and 255 for "
        "uint8; for other types the percentiles 0.1 and 99.9 of the training images.",
    )
    extremes: Intervals = Field(
        None,
        description="[LOWEST, HIGHEST]: stored values to which filled-in ones are clipped, or {NAME: [LOWEST, HIGHEST]}. Default: "
        "the extremes of the training images; 0 and 255 for uint8.",
    )
    transform: Transform | dict[str, Transform] = Field(
        "linear",
        description="What is applied to values before the range, sign kept: linear, sqrt, log1p or asinh; or {NAME: TRANSFORM}.",
    )
    unit: str | dict[str, str] = Field("", description="Unit of the values, for messages and figures, or {NAME: UNIT}.")
    nodata: float | dict[str, float] | None = Field(
        None, description="Stored value that means 'no data', besides NaN, or {NAME: VALUE}. Default: what the files say."
    )

    display: tuple[str, ...] = Field(
        (),
        description="Intensities that composites show: three as red, green and blue, such as [B04, B03, B02], or one in grey. "
        "Default: those named r, g, b or red, green, blue; B04, B03, B02; else the first.",
    )

    def check_names(self, components: Sequence[str], kind: object) -> None:
        """Raise `ConfigError` for a setting, `value_kind` (`kind`) included, of a component that does not exist."""
        for key in ("range", "extremes", "transform", "unit", "nodata", "value_kind"):
            value = kind if key == "value_kind" else getattr(self, key)
            for name in value if isinstance(value, Mapping) else ():
                if name not in components:
                    raise ConfigError(f"data.{key} names '{name}', which is no component.", did_you_mean(name, components))


def choice_for(setting: Choice | Mapping[str, Choice] | None, name: str, default: Choice) -> Choice:
    """What a setting says of one component, or the default where it says nothing."""
    if isinstance(setting, Mapping):
        return setting.get(name, default)
    return default if setting is None else setting


class StoredComponent(NamedTuple):
    """What files say of a component: its name, the type of its values, their unit, and the value that means 'no data'."""

    name: str
    dtype: str
    unit: str = ""
    nodata: float | None = None


class TrainingValues:
    """The values of all training images, batch by batch: how often each occurs, and whether components overlap."""

    def __init__(self, dtypes: Sequence[str]) -> None:
        self.counts = [ValueCounts(dtype) for dtype in dtypes]
        self._overlapping = dict.fromkeys(_THRESHOLDS, False)

    def add(self, images: Tensor, present: Tensor | None = None) -> None:
        """Count images [N, C, H, W] of stored values where they are `present` (bool, broadcastable to them; None: everywhere)."""
        rows = max(1, _CHUNK_BYTES // max(1, images[:1].nbytes))
        for start in range(0, len(images), rows):
            shown = None if present is None else present[start : start + rows].expand(images[start : start + rows].shape).numpy()
            self._add(images[start : start + rows].numpy(), shown)

    def _add(self, images: NDArray[Any], present: NDArray[np.bool_] | None) -> None:
        for number in range(len(self.counts)):
            self.add_component(number, images[:, number], None if present is None else present[:, number])
        if not self._can_be_exclusive:
            return
        for threshold, found in self._overlapping.items():
            if not found:
                above = images >= threshold if present is None else (images >= threshold) & present
                self._overlapping[threshold] = bool((above.sum(axis=1) > 1).any())

    def add_component(self, number: int, values: NDArray[Any], present: NDArray[np.bool_] | None) -> None:
        """Count values of one component, of any shape, where they are `present`; nothing is learned of how components overlap."""
        counts = self.counts[number]
        # Of uint8, only two things matter: whether there are values, and whether there are more than two of them.
        if counts.dtype != np.uint8 or not counts.count or _is_two_valued(counts):
            counts.add((values if present is None else values[present]).astype(counts.dtype, copy=False))

    @property
    def is_settled(self) -> bool:
        """Whether more images would change nothing: all components are 8-bit intensities."""
        return all(counts.dtype == np.uint8 and counts.count and not _is_two_valued(counts) for counts in self.counts)

    @property
    def _can_be_exclusive(self) -> bool:
        """Whether every component is uint8, or has had two values so far."""
        return all(counts.dtype == np.uint8 or _is_two_valued(counts) for counts in self.counts)

    def are_exclusive(self, specs: Sequence[ComponentSpec]) -> bool:
        """Whether there are several components, all of them binary, of which no pixel has more than one.

        Types other than uint8 only if they hold nothing but 0 and 1.
        """
        if len(specs) < 2 or not all(each.kind == "binary" for each in specs) or not self._can_be_exclusive:
            return False
        return not self._overlapping[_THRESHOLDS[0] if any(each.high == 1 for each in specs) else _THRESHOLDS[1]]


def is_determined(components: Sequence[StoredComponent], settings: ValueSettings, kind: SampledKindChoice) -> bool:
    """Whether the settings, perhaps those of an earlier run, say what would be measured otherwise."""

    def known(component: StoredComponent) -> bool:
        chosen = choice_for(kind, component.name, "auto")
        ends = [choice_for(setting, component.name, None) for setting in (settings.range, settings.extremes)]
        return chosen != "auto" and (None not in ends or (chosen == "intensity" and component.dtype == "uint8"))

    return all(known(component) for component in components)


def component_specs(
    components: Sequence[StoredComponent],
    settings: ValueSettings,
    kind: SampledKindChoice,
    measured: Sequence[ValueCounts] | None,
) -> tuple[ComponentSpec, ...]:
    """The specification of each component. `measured`: counts of its values in training; None if `is_determined`.

    Warns of components that are constant. Raises `DataError` for a component that is present in no training image, and for an
    empty range; `ConfigError` for a setting of a component that does not exist.
    """
    settings.check_names([component.name for component in components], kind)
    components = [
        component._replace(
            unit=choice_for(settings.unit, component.name, "") or component.unit,
            nodata=choice_for(settings.nodata, component.name, component.nodata),
        )
        for component in components
    ]
    for component, counts in zip(components, measured or (), strict=False):
        if not counts.count:
            raise DataError(
                f"The component {component.name} is absent from every training image.",
                "Leave it out with data.components, or check data.nodata and the files.",
            )
    specs = []
    for number, (component, chosen) in enumerate(zip(components, _kinds(components, kind, measured), strict=True)):
        counts = measured[number] if measured else ValueCounts(component.dtype)
        low, high = choice_for(settings.range, component.name, None) or _fitted_range(component, chosen, measured or (), counts)
        lowest, highest = choice_for(settings.extremes, component.name, None) or _fitted_extremes(
            component, chosen, (low, high), counts
        )
        transform: Transform = choice_for(settings.transform, component.name, "linear")
        name, dtype, unit, nodata = component
        specs.append(ComponentSpec(name, chosen, dtype, low, high, lowest, highest, transform, unit, nodata))
        _check_extremes(specs[-1])
    return tuple(specs)


def _check_extremes(component: ComponentSpec) -> None:
    """Raise `DataError` for values so far beyond the range that their squares would be all that a model sees."""
    farthest = max(component.unit_bounds, key=abs)
    if abs(farthest) > _FARTHEST:
        value = component.maximum if farthest > 0 else component.minimum
        raise DataError(
            f"The component {component.name} holds {value:g}, far beyond its range {component.low:g} to {component.high:g}.",
            f"If this stands for missing pixels, name it: --set data.nodata={value!r}. Otherwise give another data.range.",
        )


def fitted_settings(spec: DataSpec) -> dict[str, Any]:
    """Settings that say of every component what was measured, so that the same data are opened again as they were."""
    kinds = {each.name: each.kind for each in spec.component_specs}
    return {
        "value_kind": spec.value_kind if spec.value_kind != "mixed" else kinds,
        "range": {each.name: [each.low, each.high] for each in spec.component_specs},
        "extremes": {each.name: [each.minimum, each.maximum] for each in spec.component_specs},
    }


def thresholded(images: Tensor, specs: Sequence[ComponentSpec], kind: SampledKindChoice) -> Tensor:
    """Images [N, C, H, W] of stored values, in which components that are to be binary (`kind`) are cut at half of their range.

    The images themselves if there is nothing to cut.
    """
    cut = [number for number, each in enumerate(specs) if choice_for(kind, each.name, "auto") == "binary"]
    if not cut:
        return images
    # NumPy, because torch cannot compare unsigned types of 16 bits and more.
    result = images.numpy().copy()
    for number in cut:
        low, high = specs[number].low, specs[number].high
        result[:, number] = np.where(result[:, number] >= (low + high) / 2, high, low).astype(result.dtype)
    return torch.from_numpy(result)


class CutRows:
    """Rows of images whose components are cut at half of their range where that is asked for: see `thresholded`."""

    def __init__(self, rows: Rows, specs: Sequence[ComponentSpec], kind: SampledKindChoice) -> None:
        self._rows, self._specs, self._kind = rows, specs, kind

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, indices: Tensor) -> Tensor:
        return thresholded(self._rows[indices], self._specs, self._kind)


def _kinds(
    components: Sequence[StoredComponent], kind: SampledKindChoice, measured: Sequence[ValueCounts] | None
) -> list[ValueKind]:
    """The kind of each component.

    Found from the values, a component becomes binary only if both values occur. If all others are binary, one whose value is
    the same throughout is as well: a shape that no training image shows.
    """
    two_valued = [_is_two_valued(counts) and counts.minimum < counts.maximum for counts in measured or ()]
    all_binary = any(two_valued) and all(_is_two_valued(counts) for counts in measured or ())
    kinds: list[ValueKind] = []
    for number, component in enumerate(components):
        chosen = choice_for(kind, component.name, "auto")
        if chosen == "auto":
            kinds.append("binary" if all_binary or two_valued[number] else "intensity")
        else:
            kinds.append("intensity" if chosen == "intensity" else "binary")
    return kinds


def _is_two_valued(counts: ValueCounts) -> bool:
    """Whether there are values, and no others than the two of a binary component."""
    return any(counts.consists_of(*values) for values in (_TWO_VALUES if counts.dtype == np.uint8 else _TWO_VALUES[:1]))


def _fitted_range(
    component: StoredComponent, kind: ValueKind, measured: Sequence[ValueCounts], counts: ValueCounts
) -> tuple[float, float]:
    if component.dtype == "uint8":
        if kind == "intensity":
            return 0.0, 255.0
        highest = counts.maximum or max(each.maximum for each in measured)  # a blank shape has the range of the others
        return 0.0, 1.0 if highest == 1 else 255.0
    low, high = counts.minimum, counts.maximum
    if low == high:
        warnings.warn(f"The component {component.name} is {low:g} in every pixel of the training images.", stacklevel=3)
        return low, low + max(1.0, abs(low) / 100)
    if kind == "binary":
        return low, high
    first, last = counts.percentile(LOW_SHARE), counts.percentile(HIGH_SHARE)
    if first == last:  # nearly all values are the same
        return low, high
    # The next whole numbers, or those of six digits: nothing is lost, and people can read them.
    step = 1.0 if counts.dtype.kind in "iu" else 10.0 ** (math.floor(math.log10(last - first)) - 5)
    ends = math.floor(first / step) * step, math.ceil(last / step) * step
    return ends if counts.dtype.kind in "iu" else (float(f"{ends[0]:.12g}"), float(f"{ends[1]:.12g}"))


def _fitted_extremes(
    component: StoredComponent, kind: ValueKind, ends: tuple[float, float], counts: ValueCounts
) -> tuple[float, float]:
    if kind == "binary":
        return ends
    if component.dtype != "uint8":
        return counts.minimum, counts.maximum
    # What is filled in must not be taken for "no data" when it is read again.
    return (1.0 if component.nodata == 0 else 0.0), (254.0 if component.nodata == 255 else 255.0)
