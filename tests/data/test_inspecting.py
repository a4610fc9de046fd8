"""Statistics of data sets against NumPy, and what looks wrong about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vqkit.data.doubts import doubts, share_text, value_text
from vqkit.data.inspecting import SplitStatistics, inspect_others, inspect_split
from vqkit.data.splits import ArraySplit
from vqkit.errors import DataError
from vqkit.interfaces import ComponentSpec, DataSpec, ImageDataset, Split, SplitName

SPEC = DataSpec(
    "scan",
    (
        ComponentSpec("photons", dtype="uint16", low=100, high=900, unit="counts"),
        ComponentSpec("height", dtype="int16", low=-50, high=50),
    ),
    6,
    5,
)


def values(count: int = 40, seed: int = 0) -> NDArray[np.int32]:
    """Stored values of `SPEC`, int32 as the smallest type of both."""
    generator = torch.Generator().manual_seed(seed)
    photons = torch.randint(95, 906, (count, 6, 5), generator=generator)
    height = torch.randn(count, 6, 5, generator=generator).mul(20).round().long()
    return torch.stack([photons, height], dim=1).numpy().astype(np.int32)


def chance(share: float, *shape: int) -> NDArray[np.bool_]:
    """True in this share of the places, on average."""
    return (torch.rand(shape, generator=torch.Generator().manual_seed(1)) < share).numpy()


def split_of(images: NDArray[np.generic], present: NDArray[np.bool_] | None = None, spec: DataSpec = SPEC) -> ArraySplit:
    return ArraySplit(spec, torch.from_numpy(images), present=None if present is None else torch.from_numpy(present))


def inspected(images: NDArray[np.generic], present: NDArray[np.bool_] | None = None, name: SplitName = "train") -> SplitStatistics:
    return inspect_split(split_of(images, present), name)


@pytest.mark.parametrize("poison", [0, 30000, -30000])
def test_statistics_are_those_of_the_present_values(poison: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.data.inspecting._VALUES_AT_ONCE", 7 * 60)
    images, present = values(), chance(0.7, 40, 2, 6, 5)
    present[:10, 1] = False
    found = inspected(np.where(present, images, poison).astype(np.int32), present)
    assert (found.images, found.looked_at) == (40, 40)
    for position, component in enumerate(found.components):
        known = images[:, position][present[:, position]]
        spec = SPEC.component_specs[position]
        expected = [known.min(), *np.percentile(known, [1, 50, 99]), known.max()]
        assert [component.minimum, component.p1, component.p50, component.p99, component.maximum] == pytest.approx(expected)
        assert component.at_maximum == pytest.approx((known == known.max()).mean())
        assert component.outside == pytest.approx(((known < spec.low) | (known > spec.high)).mean())
        assert component.present == pytest.approx(present[:, position].mean())
        assert component.images_present == pytest.approx(present[:, position].any(axis=(1, 2)).mean())
    assert found.digests == inspected(images, present).digests


def test_a_part_of_a_large_split_is_looked_at_evenly() -> None:
    images = values(100)
    found = inspect_split(split_of(images), "train", most=3)
    assert (found.images, found.looked_at, list(found.digests)) == (100, 3, ["000000", "000050", "000099"])
    assert found.components[0].maximum == images[[0, 50, 99], 0].max()


def test_plain_values_name_the_range_and_leave_out_what_is_of_the_training_images() -> None:
    first = inspected(values()).components[0].to_json()
    assert {"name": "photons", "dtype": "uint16", "unit": "counts", "low": 100, "high": 900}.items() <= first.items()
    assert first["minimum"] == values()[:, 0].min() and "spec" not in first


def changed(position: int, change: Callable[[NDArray[np.int32]], NDArray[np.int32]]) -> NDArray[np.int32]:
    images = values()
    images[:, position] = change(images[:, position])
    return images


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (changed(0, np.zeros_like), "photons is empty: 0 in every pixel that is present."),
        (changed(1, lambda height: height * 0 - 7), "height is constant: -7 in every pixel that is present."),
        (changed(0, lambda photons: photons.clip(0, 850)), "photons is saturated: "),
        (changed(1, lambda height: height * 3), "height lie outside of its range, -50 to 50."),
        (
            changed(1, lambda height: height // 40),
            "Outliers dominate the range of height, -50 to 50: 98 % of ",
        ),
    ],
)
def test_what_looks_wrong_about_a_component_is_said(images: NDArray[np.int32], sentence: str) -> None:
    assert sentence in " ".join(doubts(inspected(images), []))


def test_nothing_is_said_of_sound_data_of_shapes_and_of_few_greys() -> None:
    assert doubts(inspected(values()), [inspected(values(seed=1), name="val")]) == []
    shapes = DataSpec.uniform("shapes", ("a", "b"), 4, 4, "binary")
    drawn = chance(0.5, 9, 2, 4, 4).astype(np.uint8) * 255
    assert doubts(inspect_split(split_of(drawn, spec=shapes), "train"), []) == []
    posterised = DataSpec.uniform("poster", ("grey",), 4, 4, "intensity")
    assert doubts(inspect_split(split_of(drawn[:, :1] // 4 * 3, spec=posterised), "train"), []) == []


def test_saturation_at_the_end_of_a_type_is_told_from_a_flat_top() -> None:
    eight_bits = DataSpec.uniform("photos", ("grey",), 6, 5, "intensity")
    grey = values()[:, :1] // 4
    for top, bound in ((255, "255, the largest value of its type"), (200, "200, its largest value")):
        images = np.where(grey > 190, top, grey).astype(np.uint8)
        assert bound in doubts(inspect_split(split_of(images, spec=eight_bits), "train"), [])[0]


def test_absence_is_said() -> None:
    present = np.ones((40, 2, 6, 5), dtype=bool)
    present[:, 1] = False
    assert doubts(inspected(values(), present), []) == ["height is absent from every image."]
    present[3, 1, 2] = True
    assert doubts(inspected(values(), present), []) == ["height is almost always absent: only 0.42 % of its pixels are present."]


def test_splits_that_differ_widely_are_told_apart() -> None:
    one = inspected(values())
    shifted, spread = changed(0, lambda photons: photons + 2000), changed(1, lambda height: height * 5)
    assert doubts(one, [inspected(values(seed=2), name="test")]) == []
    (first,) = doubts(one, [inspected(shifted, name="test")])
    low, high = np.percentile(values()[:, 0], [1, 99])
    assert first.startswith("photons differs between train and test: 98 % of its values run from ")
    assert f"from {value_text(low)} to {value_text(high)} in train" in first
    assert doubts(one, [inspected(spread, name="test")])[0].startswith("height differs between train and test")


def test_images_in_two_splits_are_found_whatever_is_absent_from_them() -> None:
    train, test = values(), values(5, seed=3)
    present = np.ones((5, 2, 6, 5), dtype=bool)
    assert doubts(inspected(train), [inspected(test, present, "test")]) == []
    test[2] = train[17]
    both = doubts(inspected(train), [inspected(test, present, "test")])
    assert both == ["1 image is both in train and in test, such as 000017 (train) and 000002 (test)."]
    present[2, 0, 0, 0] = False
    assert doubts(inspected(train), [inspected(test, present, "test")]) == []


def test_validation_images_in_place_of_test_images_are_no_duplicates() -> None:
    val = inspected(values(5), name="val")
    assert doubts(val, [replace(val, split="test")]) == []
    train = inspected(values(5))
    assert doubts(train, [val, replace(val, split="test")]) == doubts(train, [val])
    other = inspected(np.concatenate([values(5), values(1, seed=3)]), name="test")
    assert len(doubts(train, [val, other])) == 3, "train shares images with both, and val with test"


class _Splits(ImageDataset):
    spec = SPEC

    def split(self, name: SplitName) -> Split:
        if name == "test":
            raise DataError("There are no test images.", "")
        return split_of(values())


def test_splits_without_images_are_left_out() -> None:
    assert [each.split for each in inspect_others(_Splits(), "train")] == ["val"]


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0 %"), (1, "100 %"), (0.5, "50 %"), (0.00001, "< 0.01 %"), (0.99995, "> 99.99 %"), (0.0123, "1.2 %")]
)
def test_shares_are_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert share_text(share) == text


def test_validation_images_in_place_of_test_images_are_compared_once() -> None:
    shifted = inspected(changed(0, lambda photons: photons + 2000), name="val")
    train = inspected(values(seed=1))
    alone = doubts(train, [shifted])
    assert len(alone) == 1 and "differs between train and val" in alone[0]
    assert doubts(train, [shifted, replace(shifted, split="test")]) == alone
