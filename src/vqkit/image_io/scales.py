"""What the numbers of an image mean that a trained model is given, whatever their type.

Numbers are stored values, as in the files that the model was trained on, with these exceptions:

- floating point numbers given to a model of uint8 images (0 to 255) run from 0 to 1;
- booleans, and integers of binary components that are only 0 and 1, or only 0 and the largest value of their type, are shapes:
  not set and set.

What was found is a `DataSpec` for the given numbers, in which `low` and `high` are what the network sees as 0 and 1. So
`spec.to_unit` and `spec.from_unit` convert them, and a result is never outside of what their type can hold.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.errors import DataError
from vqkit.interfaces import DataSpec
from vqkit.interfaces.components import DTYPES, ComponentSpec

_TOLERANCE = 1e-6
"""How far floating point numbers from 0 to 1 may be off, for those that were computed."""
_FEW_UNITS = 0.01
"""Floats from 0 to 1 that are fewer than this share of a range are probably scaled to 0 ... 1."""


class Extremes(NamedTuple):
    """Smallest and largest of the present values of a component, and whether there are none between."""

    low: float
    high: float
    two_values: bool


def given_spec(values: NDArray[Any], present: NDArray[np.bool_], spec: DataSpec, source: str, final: bool = True) -> DataSpec:
    """The specification of the numbers in `values` [B, C, H, W] that are `present` (bool, the same shape).

    `spec` is that of the model; `source` names the image in errors; `final`: see `describe_numbers`. Raises `DataError` for
    infinite numbers and for those that cannot be values of their component; warns where floats from 0 to 1 are given to a model of
    larger numbers.
    """
    if values.dtype.kind not in "buif":
        raise DataError(
            f"{source} holds {values.dtype}, which are no numbers.", "Give integers, floating point numbers or booleans."
        )
    extremes = [find_extremes(values[:, number], present[:, number]) for number in range(values.shape[1])]
    return describe_numbers(values.dtype, extremes, spec, source, final)


def describe_numbers(
    dtype: np.dtype[Any], extremes: Sequence[Extremes | None], spec: DataSpec, source: str, final: bool = True
) -> DataSpec:
    """As `given_spec`, from the type of the numbers and the extremes of each component, None where nothing is present.

    With `final`, results are final images. Without, they are expected values: shapes are probabilities, and may overlap.
    """
    top = None
    if dtype.kind == "f" and is_eight_bit(spec):
        _check_shares(extremes, source)
    elif dtype.kind != "b":
        top = _top_of_shapes(dtype, extremes, spec)
        _check_values(dtype, extremes, top, spec, source)
    return _meaning(dtype, top, spec, final)


@lru_cache(maxsize=64)
def _meaning(dtype: np.dtype[Any], top: float | None, spec: DataSpec, final: bool) -> DataSpec:
    """See `describe_numbers`; `top`: what stands for `set` in binary components, if it is not the number of the model."""
    if dtype.kind == "b":
        specs = [_rescaled(each, "uint8", 0, 1) for each in spec.component_specs]
    elif dtype.kind == "f" and is_eight_bit(spec):
        specs = [_rescaled(each, _float_name(dtype), 0, 1) for each in spec.component_specs]
    else:
        specs = [
            _rescaled(each, _integer_name(dtype, each), 0, top) if top and each.kind == "binary" else _stored(each, dtype)
            for each in spec.component_specs
        ]
    if not final:
        specs = [replace(each, kind="intensity") for each in specs]
    found = replace(spec, component_specs=tuple(specs), exclusive=spec.exclusive and final)
    return spec if found == spec else found


def known_values(
    values: NDArray[Any], present: NDArray[np.bool_] | None, component: ComponentSpec, spec: DataSpec
) -> NDArray[np.bool_] | None:
    """Where the numbers of a component are data, bool of the same shape, or None where all are: `present`, no NaN, and not its
    `nodata` value.
    """
    return _without(_at_nodata(values, component, spec), values, present)


def known_colours(values: NDArray[Any], present: NDArray[np.bool_] | None, spec: DataSpec) -> NDArray[np.bool_] | None:
    """The same for the channels [..., C, h, w] of a colour picture, of which a pixel is absent where all have their `nodata` value.

    One of them alone may well be 0, or 255, in a pixel that holds data.
    """
    found = [_at_nodata(values[..., number, :, :], each, spec) for number, each in enumerate(spec.component_specs)]
    gaps = [each for each in found if each is not None]
    together = np.logical_and.reduce(gaps)[..., None, :, :] if len(gaps) == len(found) else None
    return _without(together, values, present)


def _without(gaps: NDArray[np.bool_] | None, values: NDArray[Any], present: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """What is `present` without gaps and NaN; None where everything is."""
    absent = np.isnan(values) if values.dtype.kind == "f" else None
    if gaps is not None:
        absent = gaps if absent is None else absent | gaps
    if absent is None or not np.any(absent):
        return present
    return ~absent if present is None else present & ~absent


def _at_nodata(values: NDArray[Any], component: ComponentSpec, spec: DataSpec) -> NDArray[np.bool_] | None:
    """Where numbers are the `nodata` value of their component, or None if none of them can be."""
    if component.nodata is None or values.dtype.kind == "b":
        return None
    nodata = component.nodata * (1 / 255 if values.dtype.kind == "f" and is_eight_bit(spec) else 1)
    return values == values.dtype.type(nodata) if _holds(values.dtype, nodata) else None


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether a type has a number for this value."""
    low, high = _limits(dtype.name)
    return low <= value <= high and (dtype.kind == "f" or float(value).is_integer())


def gives_final_images(dtype: np.dtype[Any], spec: DataSpec) -> bool:
    """Whether an array of this type is answered by a final image. Floats, for a model of integers, get expected values instead."""
    return dtype.kind != "f" or spec.stored_dtype.is_floating_point


def is_eight_bit(spec: DataSpec) -> bool:
    """Whether all components are uint8 and run from 0 to 255: floats given to such a model run from 0 to 1."""
    return all((each.dtype, each.low, each.high, each.transform) == ("uint8", 0, 255, "linear") for each in spec.component_specs)


def find_extremes(values: NDArray[Any], present: NDArray[np.bool_] | None = None) -> Extremes | None:
    """The extremes of the present values of an array of any shape; None where nothing is present."""
    chosen = values if present is None or bool(present.all()) else values[present]
    if not chosen.size:
        return None
    low, high = chosen.min(), chosen.max()
    two = bool(low == high) or bool(((chosen == low) | (chosen == high)).all())
    return Extremes(float(low), float(high), two)


def merged_extremes(first: Extremes | None, second: Extremes | None) -> Extremes | None:
    """The extremes of two parts of an image together."""
    if first is None or second is None:
        return second if first is None else first
    low, high = min(first.low, second.low), max(first.high, second.high)
    two = first.two_values and second.two_values and {*first[:2], *second[:2]} <= {low, high}
    return Extremes(low, high, two)


def _top_of_shapes(dtype: np.dtype[Any], extremes: Sequence[Extremes | None], spec: DataSpec) -> float | None:
    """What stands for `set` where all binary components hold 0 and one other number, which is not that of the model."""
    binary = [(each, found) for each, found in zip(spec.component_specs, extremes, strict=True) if each.kind == "binary" and found]
    if dtype.kind not in "iu" or not binary:
        return None
    top = max(found.high for _, found in binary)
    as_stored = all({found.low, found.high} <= {each.low, each.high} for each, found in binary)
    shapes = all(found.two_values and found.low in (0, top) and found.high in (0, top) for _, found in binary)
    known = top in (1, 255, _limits(dtype.name)[1])
    return top if shapes and known and not as_stored else None


def _stored(component: ComponentSpec, dtype: np.dtype[Any]) -> ComponentSpec:
    """The component with its own values in another type: what that cannot hold is beyond its extremes."""
    name = _integer_name(dtype, component) if dtype.kind in "iu" else _float_name(dtype)
    low, high = _limits(name)
    minimum, maximum = (min(max(value, low), high) for value in (component.minimum, component.maximum))
    return replace(component, dtype=name, minimum=minimum, maximum=maximum)


def _rescaled(component: ComponentSpec, name: str, low: float, high: float) -> ComponentSpec:
    """The component with other numbers for its range, on a linear scale; its extremes move with it."""
    span = component.high - component.low
    ends = [(value - component.low) / span * (high - low) + low for value in (component.minimum, component.maximum)]
    if np.dtype(name).kind in "iu":
        ends = [round(min(max(value, low), high)) for value in ends]
    return replace(component, dtype=name, low=low, high=high, minimum=ends[0], maximum=ends[1], transform="linear", nodata=None)


def _integer_name(dtype: np.dtype[Any], component: ComponentSpec) -> str:
    """A type of `DTYPES` that holds the values of the component and, unless they are beyond it, those of `dtype`."""
    if dtype.name in DTYPES:
        return dtype.name
    return "uint32" if component.minimum >= 0 else "int32"


def _float_name(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.name in DTYPES else "float64"


@lru_cache
def _limits(name: str) -> tuple[float, float]:
    """The smallest and the largest number of a type."""
    info = np.iinfo(name) if np.dtype(name).kind in "iu" else np.finfo(name)
    return float(info.min), float(info.max)


def _check_shares(extremes: Sequence[Extremes | None], source: str) -> None:
    """Raise `DataError` for floats that do not lie between 0 and 1."""
    found = [each for each in extremes if each is not None]
    low, high = min((each.low for each in found), default=0.0), max((each.high for each in found), default=0.0)
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise DataError(
            f"{source} holds values from {low:g} to {high:g} where numbers from 0 to 1 are expected.",
            "Scale the array, or give uint8 values 0 to 255.",
        )


def _check_values(
    dtype: np.dtype[Any], extremes: Sequence[Extremes | None], top: float | None, spec: DataSpec, source: str
) -> None:
    """Raise `DataError` for numbers that the files of a component cannot hold; warn of floats that seem to be scaled to 0 ... 1."""
    suspicious = []
    for component, found in zip(spec.component_specs, extremes, strict=True):
        if found is None or (top and component.kind == "binary"):
            continue
        if not (math.isfinite(found.low) and math.isfinite(found.high)):
            raise DataError(f"{source} holds infinite values in {component.name}.", "Replace them; NaN stands for missing pixels.")
        low, high = _limits(component.dtype) if component.is_integer else (-math.inf, math.inf)
        if not low <= found.low <= found.high <= high:
            raise DataError(
                f"{source} holds {'' if dtype.kind == 'f' else 'whole '}numbers from {found.low:g} to {found.high:g} in "
                f"{component.name} where {component.dtype}, {low:g} to {high:g}, is expected.",
                "Give the values that the files of this component hold.",
            )
        small = dtype.kind == "f" and found.low >= 0 and 0 < found.high <= 1
        suspicious.append(small and found.high < _FEW_UNITS * (component.high - component.low))
    if suspicious and all(suspicious):
        component = spec.component_specs[0]
        warnings.warn(
            f"{source} holds numbers from 0 to 1; the model was trained on {component.dtype} from {component.low:g} to "
            f"{component.high:g} and takes values as they are in its files.",
            stacklevel=2,
        )


@lru_cache(maxsize=64)
def numbers_of_others(given: DataSpec, spec: DataSpec) -> DataSpec:
    """What numbers mean in files of components that were not given: as in the given ones, if these have a scale of their own.

    Otherwise they are stored values in the model's types.
    """
    pairs = list(zip(given.component_specs, spec.component_specs, strict=True))
    if not any(_is_rescaled(own, model) for own, model in pairs):
        return spec
    return replace(spec, component_specs=tuple(own if _is_rescaled(own, model) else model for own, model in pairs))


def to_model(numbers: Tensor, given: DataSpec, spec: DataSpec) -> Tensor:
    """Numbers [C, H, W], meaning what `given` says, as stored values of the model in its `stored_dtype`.

    They are rounded for components of integers, and clipped to the type of each component.
    """
    if given is spec:
        return numbers.to(spec.stored_dtype)
    pairs = list(zip(given.component_specs, spec.component_specs, strict=True))
    if all(own.dtype == model.dtype and not _is_rescaled(own, model) for own, model in pairs):
        return numbers.to(spec.stored_dtype)
    return torch.stack([_to_model(values, *pair).to(spec.stored_dtype) for values, pair in zip(numbers, pairs, strict=True)])


def _to_model(numbers: Tensor, given: ComponentSpec, component: ComponentSpec) -> Tensor:
    values = numbers.to(torch.float64)
    if _is_rescaled(given, component):
        values = (values - given.low) / (given.high - given.low) * (component.high - component.low) + component.low
    if component.is_integer:
        values = values.nan_to_num().round()
    return values.clamp(*_limits(component.dtype))


def _is_rescaled(given: ComponentSpec, component: ComponentSpec) -> bool:
    return (given.low, given.high) != (component.low, component.high)
