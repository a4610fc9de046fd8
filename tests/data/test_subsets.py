"""Which data a model can take: the same components, of values that mean the same."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from vqkit.data.subsets import check_data
from vqkit.errors import DataError
from vqkit.interfaces import ComponentSpec, DataSpec


def spec(*components: ComponentSpec, height: int = 8) -> DataSpec:
    return DataSpec("set", components, height, 8)


def counts(**values: Any) -> DataSpec:
    """One component of counts from 0 to 4095 in uint16, with other `values`."""
    return spec(ComponentSpec("dna", **{"dtype": "uint16", "low": 0.0, "high": 4095.0, "maximum": 4095.0, **values}))


@pytest.mark.parametrize(
    "given",
    [
        counts(),
        counts(dtype="float32"),
        counts(dtype="int32", low=100.0, high=3000.0),
        counts(low=0.0, high=120.0),  # dark images, in the type of the training data
        counts(unit="counts"),
        counts(minimum=-5.0, transform="log1p"),
    ],
)
def test_values_in_the_same_units_are_taken_in_any_type(given: DataSpec) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_data(given, counts())


def test_values_of_other_units_are_refused_with_both_ranges() -> None:
    eight_bits = counts(dtype="uint8", high=255.0)
    with pytest.raises(DataError, match=r"dna of the data set 'set' holds uint8 values from 0 to 255; .* uint16 .* 0 to 4095"):
        check_data(eight_bits, counts())
    with pytest.raises(DataError, match=r"holds uint16 values from 0 to 4095; .* trained on uint8 values from 0 to 255"):
        check_data(counts(), eight_bits)
    with pytest.raises(DataError, match=r"float32 values from 5000 to 9000"):
        check_data(counts(dtype="float32", low=5000.0, high=9000.0), counts())
    with pytest.raises(DataError, match=r"from 0 to 4095 K; .* from 0 to 4095 mK"):
        check_data(counts(unit="K"), counts(unit="mK"))


def test_values_beside_the_range_are_taken_with_a_warning() -> None:
    with pytest.warns(
        UserWarning, match=r"holds uint16 values from 5000 to 9000; the model was trained on uint16 values from 0 to"
    ):
        check_data(counts(low=5000.0, high=9000.0), counts())


def test_shapes_must_have_the_same_two_values() -> None:
    binary = spec(ComponentSpec("a", "binary"))
    check_data(binary, binary)
    with pytest.raises(DataError, match=r"holds uint8 values 0 and 1; the model was trained on uint8 values 0 and 255"):
        check_data(spec(ComponentSpec("a", "binary", high=1.0, maximum=1.0)), binary)


@pytest.mark.parametrize(
    "given",
    [
        spec(ComponentSpec("a"), height=16),
        spec(ComponentSpec("b")),
        spec(ComponentSpec("a", "binary")),
        spec(ComponentSpec("a"), ComponentSpec("b")),
    ],
)
def test_other_components_kinds_and_sizes_are_refused(given: DataSpec) -> None:
    with pytest.raises(DataError, match=r"The data set 'set' has .*; the model was trained on 1 intensity components"):
        check_data(given, spec(ComponentSpec("a")))
