"""What the values of a component mean: their type in files, their range, and the units in which networks see them.

Two scales, everywhere in vqkit:

- *stored* values, as in the files: uint8, uint16, float32 and so on, in the component's own unit;
- *unit* values, float32: `low` is 0 and `high` is 1, after the component's transform. They are not clipped: what is rarer than the
  range lies beyond 0 and 1.

Shapes: B images, C components, H x W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from vqkit.errors import DataError
from vqkit.interfaces.names import shown, wrong_name

ValueKind = Literal["binary", "intensity"]
Transform = Literal["linear", "sqrt", "log1p", "asinh"]

TRANSFORMS: tuple[Transform, ...] = ("linear", "sqrt", "log1p", "asinh")

DTYPES: dict[str, torch.dtype] = {
    "uint8": torch.uint8,
    "uint16": torch.uint16,
    "uint32": torch.uint32,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
}
"""Types of stored values, by the name that NumPy gives them."""
_EXACT_IN_FLOAT32 = frozenset({"uint8", "uint16", "int8", "int16", "float16", "float32"})


@dataclass(frozen=True)
class ComponentSpec:
    """One component of an image.

    `kind`: binary (a shape; `high` where it is set, `low` elsewhere) or intensity. `dtype`: of the values in files (see `DTYPES`).
    `low`, `high`: stored values that networks see as 0 and 1. `minimum`, `maximum`: extremes of the training data, to which
    filled-in values are clipped. `transform`: applied before the range, sign kept. `unit`: for messages and colour bars. `nodata`:
    the stored value that means "no data" in files, besides NaN.

    Raises `DataError` for a dtype that is not supported, for an empty range, and for a name that files and folders cannot have,
    because those of results are called like components.
    """

    name: str
    kind: ValueKind = "intensity"
    dtype: str = "uint8"
    low: float = 0.0
    high: float = 255.0
    minimum: float = 0.0
    maximum: float = 255.0
    transform: Transform = "linear"
    unit: str = ""
    nodata: float | None = None

    def __post_init__(self) -> None:
        fault = wrong_name(self.name)
        if fault is not None:
            raise DataError(f"The name of the component {shown(self.name)} {fault}.", "Name it with letters and digits.")
        if self.dtype not in DTYPES:
            raise DataError(
                f"The component {self.name} holds values of type {self.dtype[:20]}.", f"Supported types are {', '.join(DTYPES)}."
            )
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise DataError(
                f"The range of the component {self.name} runs from {self.low:g} to {self.high:g}.",
                "The lower end must be below the upper one: data.range=[0, 4095].",
            )

    @property
    def is_integer(self) -> bool:
        """Whether stored values are whole numbers."""
        return not DTYPES[self.dtype].is_floating_point

    @property
    def unit_bounds(self) -> tuple[float, float]:
        """The extremes of the training data as unit values; at least 0 to 1, so that the whole range can be reached."""
        extremes = torch.tensor([self.minimum, self.maximum], dtype=torch.float64)
        low, high = to_unit(extremes.view(2, 1, 1, 1), (self,)).flatten().tolist()
        return min(0.0, low), max(1.0, high)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's header."""
        return asdict(self)


def common_dtype(specs: Sequence[ComponentSpec]) -> torch.dtype:
    """The smallest type that holds the stored values of all components exactly."""
    return DTYPES[np.result_type(*(np.dtype(each.dtype) for each in specs)).name]


def to_unit(stored: Tensor, specs: Sequence[ComponentSpec]) -> Tensor:
    """Stored values [B, C, H, W] of any type as unit values, float32. Nothing is clipped; NaN stays NaN."""
    exact = all(each.dtype in _EXACT_IN_FLOAT32 for each in specs) and stored.dtype != torch.float64
    values = stored.to(torch.float32 if exact else torch.float64)
    if all(each.transform == "linear" for each in specs):
        low, span = _ends(specs, values)
        return ((values - low) if bool(low.any()) else values).div(span).to(torch.float32)
    parts = [_forward(values[:, position], each.transform) for position, each in enumerate(specs)]
    low, span = _ends(specs, values)
    return ((torch.stack(parts, dim=1) - low) / span).to(torch.float32)


def from_unit(unit: Tensor, specs: Sequence[ComponentSpec]) -> Tensor:
    """Unit values [B, C, H, W] as stored values, in the `common_dtype`: the inverse of `to_unit`.

    Whole numbers are rounded; everything is clipped to the extremes of the training data. A binary component is set (`high`) where
    its value is at least one half. No count is the `nodata` value, which would make it absent: the next one takes its place.
    """
    dtype = common_dtype(specs)
    if len({(each.kind, each.low, each.high) for each in specs}) == 1 and specs[0].kind == "binary":
        return torch.where(unit >= 0.5, specs[0].high, specs[0].low).to(dtype)
    values = unit.to(torch.float64)
    low, span = _ends(specs, values)
    values = values * span + low
    parts = []
    for position, each in enumerate(specs):
        if each.kind == "binary":
            part = torch.where(unit[:, position] >= 0.5, each.high, each.low).to(torch.float64)
        else:
            part = _backward(values[:, position], each.transform)
            part = (part.round() if each.is_integer else part).clamp(each.minimum, each.maximum)
            if each.nodata is not None and each.is_integer:
                part = torch.where(part == each.nodata, each.nodata + (1 if each.nodata < each.high else -1), part)
        parts.append(part)
    return torch.stack(parts, dim=1).to(dtype)


def _ends(specs: Sequence[ComponentSpec], like: Tensor) -> tuple[Tensor, Tensor]:
    """Lower end and length of each transformed range, [C, 1, 1] each, in the type and on the device of `like`."""
    ends = torch.tensor([[each.low, each.high] for each in specs], dtype=torch.float64)
    ends = torch.stack([_forward(row, each.transform) for row, each in zip(ends, specs, strict=True)])
    low, span = ends[:, 0], ends[:, 1] - ends[:, 0]
    return low.to(like)[:, None, None], span.to(like)[:, None, None]


def _forward(values: Tensor, transform: Transform) -> Tensor:
    if transform == "sqrt":
        return values.sign() * values.abs().sqrt()
    if transform == "log1p":
        return values.sign() * values.abs().log1p()
    return values.asinh() if transform == "asinh" else values


def _backward(values: Tensor, transform: Transform) -> Tensor:
    if transform == "sqrt":
        return values.sign() * values.square()
    if transform == "log1p":
        return values.sign() * values.abs().expm1()
    return values.sinh() if transform == "asinh" else values
