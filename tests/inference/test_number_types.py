"""Images of every number type, in either byte order: results are of the type given, and what is kept is the same bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from painting import COLOUR, SHAPES, noise, pipeline, sections
from vqkit.errors import DataError
from vqkit.interfaces import ComponentSpec, DataSpec
from vqkit.interfaces.components import DTYPES, from_unit

DTYPES_GIVEN = [
    "u1",
    "<u2",
    ">u2",
    "<u4",
    ">u4",
    "i1",
    "<i2",
    ">i2",
    "<i4",
    "<i8",
    "u8",
    "<f2",
    ">f2",
    "<f4",
    ">f4",
    "<f8",
    ">f8",
    "g",
]


def cells(dtype: str, low: float, high: float, minimum: float, maximum: float) -> DataSpec:
    specs = tuple(ComponentSpec(name, "intensity", dtype, low, high, minimum, maximum) for name in ("dna", "actin", "golgi"))
    return DataSpec("cells", specs, 8, 8)


CELLS = cells("uint16", 30, 1000, 20, 3161)
HEIGHTS = cells("float32", -5, 40, -9, 52)
SIGNED = cells("int16", -50, 100, -100, 120)


def values_of(spec: DataSpec, dtype: str) -> np.ndarray:
    """Random values that a component of the specification and the type both hold, shape [2, 3, 8, 8]."""
    given, component = np.dtype(dtype), spec.component_specs[0]
    low, high = component.minimum, component.maximum
    if given.kind in "iu":
        low, high = max(low, np.iinfo(given).min), min(high, np.iinfo(given).max)
    return noise(2, 3, 8, 8, low=low, high=high, dtype=dtype)


def bits(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("spec", [CELLS, HEIGHTS, SIGNED], ids=["uint16", "float32", "int16"])
@pytest.mark.parametrize("dtype", DTYPES_GIVEN)
def test_arrays_of_stored_values(spec: DataSpec, dtype: str) -> None:
    given = values_of(spec, dtype)
    model = pipeline(spec)
    filled = model.inpaint(given, keep=["actin"])
    assert filled.dtype == given.dtype and filled.dtype.byteorder == given.dtype.byteorder and filled.shape == given.shape
    assert bits(filled[:, 1]) == bits(given[:, 1])
    observed = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    observed[:, 1] = True
    unit = (torch.from_numpy(given.astype(np.float64)) - spec.component_specs[0].low) / (
        spec.component_specs[0].high - spec.component_specs[0].low
    )
    expected = model.fill_unit(unit.float(), observed)[:, [0, 2]].double().numpy()
    low, high = spec.component_specs[0].low, spec.component_specs[0].high
    expected = np.clip(expected * (high - low) + low, spec.component_specs[0].minimum, spec.component_specs[0].maximum)
    if given.dtype.kind in "iu":
        expected = np.clip(np.round(expected), np.iinfo(given.dtype).min, np.iinfo(given.dtype).max)
        assert np.array_equal(filled[:, [0, 2]].astype(np.float64), expected)
    else:
        np.testing.assert_allclose(filled[:, [0, 2]].astype(np.float64), expected, rtol=1e-3 if given.dtype.itemsize == 2 else 1e-5)


@pytest.mark.parametrize("dtype", DTYPES_GIVEN)
def test_models_of_bytes_take_floats_from_0_to_1_and_integers_from_0_to_255(dtype: str) -> None:
    kind = np.dtype(dtype).kind
    given = noise(3, 8, 8, high=1 if kind == "f" else 128, dtype=dtype)
    filled = pipeline(COLOUR).inpaint(given, keep=["r"])
    assert filled.dtype == given.dtype and bits(filled[0]) == bits(given[0])
    assert float(filled.min()) >= 0 and float(filled.max()) <= (1 if kind == "f" else 127 if dtype == "i1" else 255)
    assert float(filled[1:].astype(np.float64).max()) > (0.5 if kind == "f" else 100)


def test_what_a_type_cannot_hold_is_clipped_to_it_and_never_wraps() -> None:
    """A reconstruction above 127 was -128 and more in int8."""
    model = pipeline(COLOUR)
    bright = np.full((3, 8, 8), 127, np.int8)
    in_bytes = model.reconstruct(bright.astype(np.uint8))
    assert in_bytes.max() > 127
    assert np.array_equal(model.reconstruct(bright), np.minimum(in_bytes, 127).astype(np.int8))
    large = np.full((3, 8, 8), 65000, np.uint16)
    wide = pipeline(cells("uint32", 0, 200_000, 0, 200_000))
    assert np.array_equal(wide.reconstruct(large), np.minimum(wide.reconstruct(large.astype(np.uint32)), 65535).astype(np.uint16))


def test_results_lie_in_what_the_training_data_held() -> None:
    spec = cells("uint16", 0, 1000, 100, 400)
    given = np.full((3, 8, 8), 900, np.uint16)
    filled = pipeline(spec).inpaint(given, keep=["dna"])
    assert (filled[0] == 900).all() and filled[1:].min() >= 100 and filled[1:].max() <= 400
    again = pipeline(spec).reconstruct(given.astype(np.float32))
    assert again.min() >= 100 and again.max() <= 400


@pytest.mark.parametrize("dtype", [*DTYPES.values(), torch.int64, torch.bfloat16, torch.bool])
def test_tensors(dtype: torch.dtype) -> None:
    shapes = sections(1)[0] > 0
    values = (shapes * 0.3 if dtype.is_floating_point else shapes).to(dtype)
    filled = pipeline(SHAPES).inpaint(values, keep=["belt"])
    assert filled.dtype == dtype and torch.equal(filled[1], values[1])


def test_shapes_in_any_integers() -> None:
    """0 and 1, or 0 and the largest number of a type, are shapes; results are of the same two numbers."""
    image = sections(1)[0].numpy() > 0
    plain = pipeline(SHAPES).inpaint(image.astype(np.uint8) * 255, keep=["belt"])
    for dtype, top in (("u1", 1), ("i8", 1), (">u2", 1), ("u2", 65535), ("i1", 127), ("i4", 255), ("?", 1)):
        given = (image * np.array(top, dtype=np.int64)).astype(dtype)
        filled = pipeline(SHAPES).inpaint(given, keep=["belt"])
        assert filled.dtype == given.dtype and np.array_equal(filled.astype(np.int64), (plain > 0) * top), (dtype, top)
    labelled = replace(SHAPES, component_specs=tuple(replace(each, high=1, maximum=1) for each in SHAPES.component_specs))
    assert np.array_equal(pipeline(labelled).inpaint(image.astype(np.uint8) * 255, keep=["belt"]), plain)
    assert np.array_equal(pipeline(labelled).inpaint(image.astype(np.uint8), keep=["belt"]), plain // 255)


def test_nan_is_missing_and_filled_in() -> None:
    given = values_of(HEIGHTS, "f4")[0]
    given[1, 2:5] = np.nan
    filled = pipeline(HEIGHTS).inpaint(given)
    known = ~np.isnan(given)
    assert np.isfinite(filled).all() and bits(filled[known]) == bits(given[known])
    shares = noise(3, 8, 8, high=1, dtype="float64")
    shares[0, 0, 0] = np.nan
    assert np.isfinite(pipeline(COLOUR).inpaint(shares)).all()


def test_components_of_different_types_in_one_array() -> None:
    specs = (ComponentSpec("nucleus", "binary"), ComponentSpec("dna", "intensity", "uint16", 30, 1000, 20, 3161))
    spec = DataSpec("mixed", specs, 8, 8)
    given = np.stack([np.eye(8) * 255, np.arange(64).reshape(8, 8) * 10]).astype(np.uint16)
    filled = pipeline(spec).inpaint(given, keep=["dna"])
    assert np.array_equal(filled[1], given[1]) and set(np.unique(filled[0])) <= {0, 255}
    soft = pipeline(spec).inpaint(given.astype(np.float32), keep=["dna"])
    assert np.array_equal(soft[1], given[1]) and not set(np.unique(soft[0])) <= {0, 255}
    ones = given.copy()
    ones[0] //= 255
    assert np.array_equal(pipeline(spec).inpaint(ones, keep=["dna"])[0], filled[0] // 255)


@pytest.mark.parametrize(
    ("spec", "values", "message"),
    [
        (COLOUR, np.full((3, 8, 8), 300, np.uint16), "whole numbers from 300 to 300 in r where uint8, 0 to 255, is expected"),
        (COLOUR, np.full((3, 8, 8), -1, np.int8), "whole numbers from -1 to -1"),
        (COLOUR, np.full((3, 8, 8), 2.0), "values from 2 to 2 where numbers from 0 to 1"),
        (COLOUR, np.full((3, 8, 8), np.inf), "from inf to inf"),
        (CELLS, np.full((3, 8, 8), -7.5), "numbers from -7.5 to -7.5 in dna where uint16, 0 to 65535"),
        (HEIGHTS, np.full((3, 8, 8), -np.inf), "infinite values in dna"),
    ],
)
def test_values_that_cannot_be_those_of_a_component(spec: DataSpec, values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pipeline(spec).inpaint(values, keep=[spec.components[0]])


def test_floats_scaled_to_1_are_noticed() -> None:
    with pytest.warns(UserWarning, match="holds numbers from 0 to 1; the model was trained on uint16 from 30 to 1000"):
        pipeline(CELLS).inpaint(noise(3, 8, 8, high=1, dtype="float64"), keep=["dna"])


def test_decoded_images_are_in_the_units_of_floats() -> None:
    for spec, low, high in ((COLOUR, 0.0, 1.0), (CELLS, 20.0, 3161.0), (HEIGHTS, -9.0, 52.0)):
        model = pipeline(spec)
        codes = (torch.arange(16).reshape(4, 2, 2),)
        decoded, unit = model.decode(codes), model.decode_unit(codes)
        assert decoded.dtype == torch.float32
        specs = [replace(each, dtype="float32") for each in spec.component_specs]
        if spec is COLOUR:
            specs = [replace(each, high=1, maximum=1) for each in specs]
        torch.testing.assert_close(decoded, from_unit(unit, specs))
        assert low <= float(decoded.min()) and float(decoded.max()) <= high
