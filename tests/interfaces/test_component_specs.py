"""Stored values and unit values: written out by hand with NumPy, and there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vqkit.errors import DataError
from vqkit.interfaces import Batch, ComponentSpec, DataSpec
from vqkit.interfaces.components import DTYPES, TRANSFORMS, common_dtype, from_unit, to_unit

FORWARD = {
    "linear": lambda values: values,
    "sqrt": lambda values: np.sign(values) * np.sqrt(np.abs(values)),
    "log1p": lambda values: np.sign(values) * np.log1p(np.abs(values)),
    "asinh": np.arcsinh,
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_unit_values_are_what_the_range_and_the_transform_say(dtype: str, transform: str) -> None:
    spec = ComponentSpec("a", dtype=dtype, low=3, high=90, minimum=0, maximum=120, transform=transform)  # type: ignore[arg-type]
    values = np.array([0, 3, 20, 90, 120], dtype=dtype)
    wide = FORWARD[transform](values.astype(np.float64))
    low, high = FORWARD[transform](np.array([3.0, 90.0]))
    given = to_unit(torch.from_numpy(values).view(1, 1, 1, 5), (spec,))
    assert given.dtype == torch.float32
    assert given.flatten().tolist() == pytest.approx(((wide - low) / (high - low)).tolist(), rel=1e-5, abs=1e-6)
    back = from_unit(given, (spec,))
    assert back.dtype == DTYPES[dtype]
    tolerance = 0 if spec.is_integer else 0.05 if dtype == "float16" else 1e-3
    assert back.to(torch.float64).flatten().tolist() == pytest.approx(values.astype(np.float64).tolist(), abs=tolerance)


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 0, 255), ("uint16", 27, 3161), ("uint16", 0, 65535), ("int16", -400, 90)]
)
def test_every_whole_number_comes_back(dtype: str, low: float, high: float) -> None:
    limits = np.iinfo(dtype)
    spec = ComponentSpec("a", dtype=dtype, low=low, high=high, minimum=limits.min, maximum=limits.max)
    values = torch.from_numpy(np.arange(limits.min, limits.max + 1).astype(dtype)).view(1, 1, 1, -1)
    assert torch.equal(from_unit(to_unit(values, (spec,)), (spec,)), values)


def test_bytes_are_shares_of_255_to_the_last_bit() -> None:
    values = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(to_unit(values, (ComponentSpec("a"),)), values.to(torch.float32).div(255))


def test_what_is_filled_in_stays_within_the_training_data() -> None:
    spec = ComponentSpec("a", dtype="uint16", low=100, high=200, minimum=90, maximum=260)
    unit = torch.tensor([-5.0, -0.1, 0.5, 1.6, 9.0]).view(1, 1, 1, 5)
    assert from_unit(unit, (spec,)).flatten().tolist() == [90, 90, 150, 260, 260]
    assert spec.unit_bounds == pytest.approx((-0.1, 1.6))
    assert ComponentSpec("a", low=0, high=255, minimum=20, maximum=200).unit_bounds == (0, 1)


def test_components_of_several_kinds_and_types() -> None:
    specs = (
        ComponentSpec("mask", "binary", "uint8", high=1, maximum=1),
        ComponentSpec("dna", dtype="uint16", low=0, high=1000, maximum=4000),
    )
    spec = DataSpec("cells", specs, 1, 3)
    assert (spec.value_kind, spec.components, spec.stored_dtype) == ("mixed", ("mask", "dna"), torch.uint16)
    unit = torch.tensor([[0.2, 0.5, 0.9], [0.25, 1.5, -1.0]]).view(1, 2, 1, 3)
    assert spec.from_unit(unit).flatten().tolist() == [0, 1, 1, 250, 1500, 0]
    assert DataSpec.from_json(spec.to_json()) == spec
    mixed = [ComponentSpec("a", dtype=dtype) for dtype in ("uint16", "int16")]
    assert common_dtype(mixed) == torch.int32
    assert common_dtype([ComponentSpec("a", dtype=dtype) for dtype in ("uint32", "float32")]) == torch.float64


@pytest.mark.parametrize(("low", "high"), [(5, 5), (9, 2), (math.nan, 4), (0, math.inf)])
def test_an_empty_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(DataError, match="range of the component B04"):
        ComponentSpec("B04", low=low, high=high)


def test_other_types_are_refused() -> None:
    with pytest.raises(DataError, match=r"values of type complex64\. Supported types are uint8"):
        ComponentSpec("a", dtype="complex64")


@pytest.mark.parametrize("poison", [math.nan, math.inf, -7.0])
def test_what_is_absent_is_zero_on_the_device(poison: float) -> None:
    spec = DataSpec("one", (ComponentSpec("a", dtype="float32", low=2, high=4, minimum=2, maximum=4),), 1, 2)
    images = torch.tensor([3.0, poison]).view(1, 1, 1, 2)
    present = torch.tensor([True, False]).view(1, 1, 1, 2)
    batch = Batch(images, torch.empty(1, 0), torch.full((1,), -1), present=present).to(torch.device("cpu"), spec)
    assert batch.images.flatten().tolist() == [0.5, 0.0]
    assert torch.equal(batch.observed, present)
