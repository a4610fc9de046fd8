from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from painting import augmented
from vqkit.data.augmentation import Augmentation
from vqkit.data.splits import (
    ArraySplit,
    LabelMapSplit,
    SplitPlan,
    condition_specs,
    hold_out,
)
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.values import one_hot_images
from vqkit.interfaces import DataSpec

SPEC = DataSpec.uniform("sections", ("carcass", "tread"), 2, 3, "binary", exclusive=True)


def test_array_split_looks_up_what_it_holds() -> None:
    images = torch.arange(4 * 12, dtype=torch.uint8).view(4, 2, 2, 3)
    split = ArraySplit(SPEC, images, torch.arange(4.0)[:, None], torch.tensor([3, 2, 1, 0]), ["a", "b", "c", "d"])
    batch = split.batch(torch.tensor([2, 0]))
    assert torch.equal(batch.images, images[[2, 0]])
    assert batch.conditions.tolist() == [[2], [0]]
    assert batch.labels.tolist() == [1, 3]
    assert split.names(torch.tensor([3, 1])) == ["d", "b"]
    assert len(split) == 4


def test_array_split_says_what_is_present() -> None:
    images = torch.arange(4 * 12, dtype=torch.int32).view(4, 2, 2, 3).to(torch.uint16)
    present = torch.tensor([[1, 1], [0, 1], [1, 0], [1, 1]], dtype=torch.bool)[:, :, None, None]
    batch = ArraySplit(SPEC, images, present=present).batch(torch.tensor([2, 1]))
    assert batch.images.dtype == torch.uint16
    assert torch.equal(batch.images, images[[2, 1]])
    assert batch.present is not None
    assert batch.present.shape == (2, 2, 1, 1)
    assert batch.observed[:, :, 0, 0].tolist() == [[True, False], [False, True]]


def test_array_split_without_more_than_images() -> None:
    batch = ArraySplit(SPEC, torch.zeros(4, 2, 2, 3, dtype=torch.uint8)).batch(torch.arange(3))
    assert batch.conditions.shape == (3, 0)
    assert batch.labels.tolist() == [-1, -1, -1]


def test_label_maps_become_one_image_a_component() -> None:
    label_maps = torch.tensor([[[0, 1, 2], [2, 1, 0]]], dtype=torch.uint8)
    split = LabelMapSplit(SPEC, label_maps, torch.zeros(1, 0), "test")
    expected = [[[0, 255, 0], [0, 255, 0]], [[0, 0, 255], [255, 0, 0]]]
    assert split.batch(torch.tensor([0])).images[0].tolist() == expected
    assert torch.equal(one_hot_images(label_maps, 2)[0], split.batch(torch.tensor([0])).images[0])


WIDE = DataSpec.uniform("wide", ("a",), 90, 90, "intensity")


def randomly(images: Tensor, seed: int = 0, **augmentation: Any) -> Tensor:
    return augmented(ArraySplit(WIDE, torch.zeros(1), augmentation=Augmentation(**augmentation)), images, seed)


def test_random_flip_mirrors_about_half_and_is_a_function_of_the_generator() -> None:
    images = torch.rand(400, 1, 2, 5)
    flipped = randomly(images, flip=True)
    mirrored = torch.tensor([torch.equal(after, before.flip(-1)) for before, after in zip(images, flipped, strict=True)])
    same = torch.tensor([torch.equal(after, before) for before, after in zip(images, flipped, strict=True)])
    assert bool((mirrored ^ same).all())
    assert 150 < int(mirrored.sum()) < 250
    assert torch.equal(flipped, randomly(images, flip=True))


def test_only_a_split_that_flips_augments() -> None:
    images = torch.rand(64, 2, 2, 3)
    stored = torch.zeros(4, 2, 2, 3, dtype=torch.uint8)
    assert augmented(ArraySplit(SPEC, stored), images) is images
    assert not torch.equal(augmented(ArraySplit(SPEC, stored, augmentation=Augmentation(flip=True)), images), images)


def test_random_crop_by_hand() -> None:
    image = torch.arange(20, dtype=torch.uint8).view(1, 1, 4, 5)
    padded = torch.nn.functional.pad(image.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    cuts = {(row, column): padded[0, 0, row : row + 4, column : column + 5] for row in range(5) for column in range(5)}
    cropped = randomly(image.expand(600, 2, 4, 5), crop=2)
    assert cropped.dtype == torch.uint8
    assert cropped.shape == (600, 2, 4, 5)
    found = [next(place for place, cut in cuts.items() if torch.equal(cut, each[0])) for each in cropped]
    assert set(found) == set(cuts)
    assert torch.equal(cropped[:, 0], cropped[:, 1])
    assert torch.equal(cropped.float(), randomly(image.expand(600, 2, 4, 5).float(), crop=2))


def test_a_crop_is_a_function_of_the_generator_and_not_of_the_layout() -> None:
    images = torch.rand(8, 3, 6, 5)
    drawn = [randomly(images, seed, crop=3) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    strided = images.to(memory_format=torch.channels_last)
    assert torch.equal(randomly(strided, crop=3), drawn[0])


def test_flips_are_the_same_with_crops_and_without() -> None:
    stored, images = torch.zeros(4, 2, 8, 9, dtype=torch.uint8), torch.rand(16, 2, 8, 9)
    wide = replace(SPEC, height=8, width=9)
    flipped = augmented(ArraySplit(wide, stored, augmentation=Augmentation(flip=True)), images)
    both = augmented(ArraySplit(wide, stored, augmentation=Augmentation(flip=True, crop=1)), images)
    ways = [flipped[:, :, 1 + down : 7 + down, 1 + across : 8 + across] for down in (-1, 0, 1) for across in (-1, 0, 1)]
    for number, image in enumerate(both):
        assert any(torch.equal(image[:, 1:7, 1:8], way[number]) for way in ways)
    assert not torch.equal(both, flipped)


@pytest.mark.parametrize("crop", [2, 5])
def test_a_crop_as_large_as_the_image_is_refused(crop: int) -> None:
    stored = torch.zeros(4, 2, 2, 3, dtype=torch.uint8)
    with pytest.raises(ConfigError, match=rf"data.crop = {crop} shifts images of 2 x 3 \(height x width\) out of sight.*below 2"):
        ArraySplit(SPEC, stored, augmentation=Augmentation(crop=crop))
    assert augmented(ArraySplit(SPEC, stored, augmentation=Augmentation(crop=1)), torch.rand(3, 2, 2, 3)).shape == (
        3,
        2,
        2,
        3,
    )


def test_condition_specs_leave_out_what_is_unknown() -> None:
    values = torch.tensor([[1.0, math.nan, 7.0], [3.0, math.nan, 7.0], [math.nan, math.nan, 7.0]])
    known, unknown, constant = condition_specs(("a", "b", "c"), values)
    assert (known.minimum, known.maximum, known.mean, known.std) == (1, 3, 2, 1)
    assert (unknown.mean, unknown.std) == (0, 1)
    assert (constant.mean, constant.std) == (7, 1)


@pytest.mark.parametrize(("count", "held"), [(0, 0), (1, 0), (2, 1), (10, 1), (1000, 50)])
def test_hold_out_parts_the_positions(count: int, held: int) -> None:
    training, validation = hold_out(count, 0.05)
    assert len(validation) == held
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(count))
    assert torch.equal(hold_out(count, 0.05)[1], validation)


def test_given_splits_are_used_whole() -> None:
    plan = SplitPlan({"train": 5, "val": 3, "test": 2}, 0.5, "here")
    for name, count in (("train", 5), ("val", 3), ("test", 2)):
        folder, positions = plan.of(name)
        assert (folder, positions.tolist()) == (name, list(range(count)))


def test_missing_splits_are_made_of_training_images() -> None:
    plan = SplitPlan({"train": 20}, 0.25, "here")
    folder, validation = plan.of("val")
    assert (folder, len(validation)) == ("train", 5)
    assert set(validation.tolist()).isdisjoint(plan.of("train")[1].tolist())
    with pytest.warns(UserWarning, match="here has no test images; its validation images are used instead"):
        folder, test = plan.of("test")
    assert torch.equal(test, validation)


def test_a_specification_is_made_from_what_there_is() -> None:
    assert SplitPlan({"train": 0, "test": 2}, 0.05, "here").describing()[0] == "test"
    with pytest.raises(DataError, match="here has no images for train"):
        SplitPlan({}, 0.05, "here").describing()
