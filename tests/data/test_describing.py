from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from vqkit.data.describing import (
    StoredComponent,
    TrainingValues,
    ValueSettings,
    component_specs,
    fitted_settings,
    is_determined,
    thresholded,
)
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import DataSpec

GREYS = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 1, 2, 2)
APART = torch.tensor([[255, 0, 0], [0, 0, 255]], dtype=torch.uint8).view(1, 2, 1, 3)


def described(
    images: Tensor, kind: Any = "auto", dtypes: tuple[str, ...] = (), present: Tensor | None = None, **settings: Any
) -> DataSpec:
    """The specification of images whose components are named a, b, ..."""
    types = dtypes or (images.numpy().dtype.name,) * images.shape[1]
    values = TrainingValues(types)
    values.add(images, present)
    components = [StoredComponent(name, dtype) for name, dtype in zip("abcd", types, strict=False)]
    specs = component_specs(components, ValueSettings(**settings), kind, values.counts)
    return DataSpec("set", specs, images.shape[2], images.shape[3], values.are_exclusive(specs))


def counts_up(count: int, dtype: str) -> Tensor:
    """One component whose values are 0 ... count - 1, in two images."""
    return torch.from_numpy(np.arange(count).reshape(2, 1, 2, -1).astype(dtype))


def test_shapes_are_cut_at_half_of_the_range_where_they_are_asked_for() -> None:
    spec = described(GREYS, "binary")
    cut = thresholded(GREYS, spec.component_specs, "binary")
    assert cut.flatten().tolist() == [0, 0, 255, 255]
    assert cut.dtype == torch.uint8
    assert thresholded(GREYS, spec.component_specs, "auto") is GREYS


def test_deep_shapes_are_cut_at_half_of_their_own_range() -> None:
    images = counts_up(1000, "uint16")
    spec = described(images, {"a": "binary"})
    (component,) = spec.component_specs
    assert (component.kind, component.low, component.high) == ("binary", 0, 999)
    cut = thresholded(images, spec.component_specs, {"a": "binary"})
    assert cut.dtype == torch.uint16
    assert cut.flatten().tolist() == [0] * 500 + [999] * 500
    assert images.flatten().tolist() == list(range(1000))


def test_what_images_say_of_themselves() -> None:
    expected = DataSpec.uniform("set", ("a", "b"), 1, 3, "binary", exclusive=True)
    assert described(APART) == expected
    together = APART.clone()
    together[0, 1, 0, 0] = 255
    assert described(together) == replace(expected, exclusive=False)
    assert described(APART // 2).value_kind == "intensity"


def test_a_kind_that_was_chosen_stays() -> None:
    chosen = described(APART, "intensity")
    assert (chosen.value_kind, chosen.exclusive) == ("intensity", False)
    assert described(APART, {"b": "intensity"}).value_kind == "mixed"


def test_shapes_of_zeros_and_ones_keep_their_values() -> None:
    (first, second) = described(APART // 255).component_specs
    assert (first.kind, first.low, first.high, first.minimum, first.maximum) == ("binary", 0, 1, 0, 1)
    assert second.high == 1
    assert described(APART // 255).exclusive


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 2, 2, dtype=torch.uint8),
        torch.full((2, 1, 2, 2), 255, dtype=torch.uint8),
        APART[:, :1].to(torch.float32),
        APART[:, :1].to(torch.int16),
        APART[:, :1] // 2,
        torch.cat([APART, APART // 2]),
    ],
    ids=["black", "white", "float", "16 bits", "grey and black", "grey in one picture"],
)
def test_what_is_not_binary(images: Tensor) -> None:
    assert described(images).value_kind == "intensity"


def test_nan_does_not_make_a_set_binary() -> None:
    images = torch.tensor([[torch.nan, 0.25, 0.75, torch.nan]]).view(1, 1, 2, 2)
    (component,) = described(images, present=~images.isnan()).component_specs
    assert (component.kind, component.minimum, component.maximum) == ("intensity", 0.25, 0.75)


def test_a_shape_that_no_training_image_shows_goes_along_with_the_others() -> None:
    images = torch.cat([APART, torch.zeros(1, 1, 1, 3, dtype=torch.uint8)], dim=1)
    assert described(images).value_kind == "binary"
    assert described(images).component_specs[2].high == 255
    assert described(images // 255).component_specs[2].high == 1
    grey = torch.cat([images, torch.full((1, 1, 1, 3), 7, dtype=torch.uint8)], dim=1)
    assert [each.kind for each in described(grey).component_specs] == ["binary", "binary", "intensity", "intensity"]


def test_forced_shapes_are_exclusive_by_what_is_left_after_cutting() -> None:
    faint = APART.clone()
    faint[0, 1, 0, 0] = 40
    assert described(faint, "binary").exclusive
    assert not described(faint.clamp_min(200), "binary").exclusive


def test_ranges_are_percentiles_and_extremes_are_exact() -> None:
    values = np.arange(10000)
    (component,) = described(counts_up(10000, "uint16")).component_specs
    assert component.low == np.floor(np.percentile(values, 0.1))
    assert component.high == np.ceil(np.percentile(values, 99.9))
    assert (component.minimum, component.maximum, component.dtype) == (0, 9999, "uint16")


@pytest.mark.parametrize("fill", [-3.4028234663852886e38, 1e20])
def test_a_fill_value_that_nobody_declared_is_named(fill: float) -> None:
    values = counts_up(10000, "float32") / 10000
    values[0, 0, 0, :3] = fill
    with pytest.raises(DataError, match=r"component a holds .* far beyond its range .* to 0\.99.*data\.nodata") as raised:
        described(values)
    stated = raised.value.hint.split("data.nodata=")[1].split(". ")[0]
    assert float(stated) == np.float32(fill)
    described(values, present=values != float(stated))


def test_ranges_of_floats_have_few_digits() -> None:
    values = counts_up(10000, "float32") / 3000 + 271
    (component,) = described(values).component_specs
    assert component.low == pytest.approx(np.percentile(values.numpy(), 0.1), abs=0.03)
    assert component.high == pytest.approx(np.percentile(values.numpy(), 99.9), abs=0.03)
    assert all(round(end, 5) == end for end in (component.low, component.high))


def test_eight_bits_run_from_0_to_255() -> None:
    (component,) = described(GREYS // 2).component_specs
    assert (component.low, component.high, component.minimum, component.maximum) == (0, 255, 0, 255)
    (low_end,) = described(GREYS, nodata=0).component_specs
    (high_end,) = described(GREYS, nodata=255).component_specs
    assert (low_end.minimum, low_end.nodata, high_end.maximum) == (1, 0, 254)


def test_components_of_several_types_have_ranges_of_their_own() -> None:
    images = torch.stack([torch.arange(100) * 2, torch.arange(100) - 50], dim=1).view(100, 2, 1, 1).to(torch.int16)
    spec = described(images, dtypes=("uint8", "int16"))
    first, second = spec.component_specs
    assert (first.dtype, first.low, first.high) == ("uint8", 0, 255)
    assert (second.dtype, second.minimum, second.maximum) == ("int16", -50, 49)
    assert spec.stored_dtype == torch.int16


def test_absent_pixels_say_nothing() -> None:
    clean = counts_up(1000, "float32")
    poisoned = torch.cat([clean, torch.full_like(clean[:1], 1e9)])
    present = torch.tensor([True, True, False]).view(3, 1, 1, 1)
    assert described(poisoned, present=present) == described(clean)


def test_settings_come_before_what_is_measured() -> None:
    images = torch.cat([counts_up(1000, "uint16"), counts_up(1000, "uint16")], dim=1)
    spec = described(
        images, range={"b": [10, 500]}, extremes={"b": [0, 4095]}, transform={"a": "sqrt"}, unit="counts", nodata={"a": 7}
    )
    first, second = spec.component_specs
    assert (second.low, second.high, second.minimum, second.maximum) == (10, 500, 0, 4095)
    assert (first.maximum, first.transform, first.unit, first.nodata) == (999, "sqrt", "counts", 7)
    assert (second.transform, second.unit, second.nodata) == ("linear", "counts", None)
    assert all((each.low, each.high) == (0, 10) for each in described(images, range=[0, 10]).component_specs)


def test_what_was_measured_can_be_set_instead() -> None:
    images = torch.cat([counts_up(1000, "int16"), counts_up(1000, "int16") // 2], dim=1)
    components = [StoredComponent("a", "int16"), StoredComponent("b", "int16")]
    spec = described(images)
    recorded = fitted_settings(spec)
    kind = recorded.pop("value_kind")
    settings = ValueSettings(**recorded)
    assert kind == "intensity"
    assert not is_determined(components, ValueSettings(), "intensity")
    assert is_determined(components, settings, kind)
    assert component_specs(components, settings, kind, None) == spec.component_specs
    assert described(images // 3, kind, **recorded) == spec
    assert fitted_settings(described(APART, {"a": "intensity"}))["value_kind"] == {"a": "intensity", "b": "binary"}


def test_eight_bit_intensities_need_no_measuring() -> None:
    components = [StoredComponent("a", "uint8")]
    assert is_determined(components, ValueSettings(), "intensity")
    assert not is_determined(components, ValueSettings(), "auto")
    assert not is_determined(components, ValueSettings(), "binary")


def test_a_component_without_contrast_has_a_range_all_the_same() -> None:
    with pytest.warns(UserWarning, match="The component a is 300 in every pixel"):
        (component,) = described(torch.full((1, 1, 2, 2), 300, dtype=torch.int16)).component_specs
    assert (component.low, component.high, component.minimum, component.maximum) == (300, 303, 300, 300)


def test_rare_values_widen_the_range_only_where_there_are_no_others() -> None:
    images = torch.zeros(1, 1, 100, 100)
    images[0, 0, 0, 0] = 5
    (component,) = described(images).component_specs
    assert (component.low, component.high) == (0, 5)


def test_a_component_that_is_always_absent_is_refused() -> None:
    images = counts_up(8, "uint16").expand(2, 2, 2, 2)
    present = torch.tensor([True, False]).view(1, 2, 1, 1).expand(2, 2, 1, 1)
    with pytest.raises(DataError, match="The component b is absent from every training image"):
        described(images, present=present)


def test_wrong_ranges_are_refused() -> None:
    images = counts_up(8, "uint16")
    with pytest.raises(DataError, match="The range of the component a runs from 9 to 3"):
        described(images, range=[9, 3])
    with pytest.raises(ConfigError, match=r"data\.range names 'B04', which is no component"):
        described(images, range={"B04": [0, 3]})
    with pytest.raises(ConfigError, match=r"data\.value_kind names 'B04'"):
        described(images, {"B04": "binary"})
    for wrong in (3, [1], [1, 2, 3], {"a": 3}, "ab", ["1", "2"]):
        with pytest.raises(ValidationError, match=r"expected \[LOW, HIGH\]"):
            ValueSettings(range=wrong)


def test_images_may_come_in_batches() -> None:
    images = counts_up(1000, "uint16")
    values = TrainingValues(["uint16"])
    for image in images:
        values.add(image[None])
    whole = TrainingValues(["uint16"])
    whole.add(images)
    assert values.counts[0].percentile(0.3) == whole.counts[0].percentile(0.3)
    assert values.counts[0].count == 1000
