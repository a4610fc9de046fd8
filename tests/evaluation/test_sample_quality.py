"""Figures of samples against numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor

from painting import SHAPES, pipeline, sections
from vqkit.config import NamedOptions
from vqkit.data.opening import open_dataset
from vqkit.evaluation.sample_quality import (
    GeneratedImages,
    Reference,
    adherence,
    contents,
    plausibilities,
    plausibility,
    reconstructed,
    reference_contents,
)
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch, ComponentSpec, DataSpec, ImageDataset, Split, fully_observed

ONE_PART = torch.tensor([[0.0, 0.996, 0.004], [0.0, 0.5, 0.5]])
"""Usual are one part of the first component, and one or two of the second."""
TWO_SHAPES = DataSpec.uniform("two", ("a", "b"), 8, 8, "binary")


class Rulers(ImageDataset):
    """Its conditions are twice the number of columns and the number of rows that are set at all."""

    spec = DataSpec.uniform(
        "rulers", ("a",), 4, 4, "binary", conditions=open_dataset(NamedOptions(name="tyre", num_train=4)).spec.conditions
    )

    def split(self, name: Literal["train", "val", "test"]) -> Split:
        raise NotImplementedError

    def measure(self, images: Tensor) -> Tensor:
        return torch.stack([2.0 * (images > 0).any(2).flatten(1).sum(1), (images > 0).any(3).flatten(1).sum(1)], dim=1)


class Unmeasured(Rulers):
    def measure(self, images: Tensor) -> None:
        return None


def rectangles(*sizes: tuple[int, int]) -> Tensor:
    """Images [N, 1, 4, 4] with `columns` x `rows` set."""
    images = torch.zeros(len(sizes), 1, 4, 4)
    for image, (columns, rows) in zip(images, sizes, strict=True):
        image[0, :rows, :columns] = 1
    return images


def test_an_image_is_plausible_by_overlap_and_by_parts() -> None:
    shapes = torch.zeros(4, 2, 40, 50, dtype=torch.bool)
    shapes[:, 0, :2] = True
    shapes[:, 1, 5:7] = True
    shapes[1, 1, 1, :2] = True  # 2 of 2000 pixels: 0.1% may overlap; and a second part
    shapes[2, 1, 1, :3] = True
    shapes[3, 0, 20] = True
    result = plausibility("samples", shapes, ONE_PART)
    assert (result.name, result.images) == ("samples", 4)
    assert (result.free_of_overlap, result.usual_parts, result.both) == (0.75, 0.75, 0.5)
    assert result.overlap == pytest.approx((2 + 3) / 2000 / 4)


def test_final_images_and_independent_thresholds_are_judged_each() -> None:
    expected = torch.zeros(1, 2, 8, 8)
    expected[:, 0, :4], expected[:, 1, 3:] = 0.9, 0.6
    final = (expected > 0).float()
    final[:, 1, 3] = 0
    settled, independent = plausibilities(GeneratedImages("samples", expected, final), ONE_PART, TWO_SHAPES)
    assert (settled.overlap, independent.overlap) == (0, 1 / 8)
    assert (settled.both, independent.both) == (1, 0)
    assert independent.name == "samples, thresholded independently"


def test_contents_are_pixel_shares_and_shares_of_numbers_of_parts() -> None:
    final = torch.zeros(2, 3, 8, 12)
    final[0, 0, 0] = 1
    final[1, 0, ::4] = 1
    result = contents(GeneratedImages("samples", final, final), SHAPES)
    assert result.values == pytest.approx({"carcass": 36 / 192, "belt": 0, "tread": 0})
    assert result.parts == {"carcass": [0, 0.5, 0.5], "belt": [1, 0, 0], "tread": [1, 0, 0]}


def test_contents_of_intensities_are_mean_stored_values() -> None:
    pictures = DataSpec.uniform("pictures", ("grey",), 8, 8, "intensity")
    final = torch.full((2, 1, 8, 8), 0.2)
    result = contents(GeneratedImages("samples", final, final), pictures)
    assert result.values == {"grey": 51}
    assert result.parts == {}
    assert reference_contents("training images", Reference(torch.tensor([0.5]).double(), None), pictures).values == {"grey": 0.5}


def test_contents_of_mixed_components_are_those_of_each_kind() -> None:
    heat = ComponentSpec("heat", dtype="uint16", low=100, high=1100, maximum=5000)
    mixed = DataSpec("mixed", (heat, ComponentSpec("mask", "binary")), 8, 8)
    final = torch.full((2, 2, 8, 8), 0.25)
    final[:, 1] = 0
    final[0, 1, :4, :4] = 1
    result = contents(GeneratedImages("samples", final, final), mixed)
    assert result.values == {"heat": 350, "mask": 16 / 128}
    assert result.parts == {"mask": [0.5, 0.5]}


def test_components_that_an_image_does_not_have_are_not_judged() -> None:
    shapes = torch.zeros(3, 2, 8, 8, dtype=torch.bool)
    shapes[:, 0, :2] = True
    held = torch.tensor([[True, False], [True, True], [False, False]])
    assert plausibility("held-out", shapes, ONE_PART).usual_parts == 0  # every image has one shape, none has both
    assert plausibility("held-out", shapes, ONE_PART, held).usual_parts == pytest.approx(2 / 3)


def test_adherence_measures_samples_again() -> None:
    asked = {"height_px": torch.tensor([2.0, 2.0, math.nan]), "width_px": torch.tensor([4.0, 4.0, 8.0])}
    samples, rebuilt = rectangles((1, 4), (3, 1), (4, 4)), rectangles((2, 3), (2, 2), (3, 4))
    height, width = adherence(Rulers(), asked, samples, rebuilt)
    assert (height.condition, height.images) == ("height_px", 2)
    assert (height.mean_absolute_error, height.bias, height.reconstruction_error) == (1.5, 0.5, 0.5)
    assert (width.condition, width.images) == ("width_px", 3)
    assert (width.mean_absolute_error, width.bias) == pytest.approx((4 / 3, 0.0))
    assert width.reconstruction_error == pytest.approx(2 / 3)


def test_nothing_is_said_of_conditions_that_cannot_be_measured() -> None:
    images = rectangles((1, 1))
    assert adherence(Unmeasured(), {"width_px": torch.tensor([2.0])}, images, images) == ()
    assert adherence(Rulers(), {"colour": torch.tensor([2.0]), "width_px": torch.tensor([math.nan])}, images, images) == ()


def test_tyre_sections_are_measured_as_they_were_described() -> None:
    dataset = open_dataset(NamedOptions(name="tyre", num_train=4, num_test=3))
    batch = dataset.split("test").batch(torch.arange(3))
    measured = dataset.measure(batch.images)
    assert measured is not None
    assert torch.equal(measured, batch.conditions)


def test_reconstructions_are_settled_expected_images() -> None:
    pipe = pipeline(SHAPES)
    images = sections(5)
    batch = Batch(images, torch.empty(5, 0), torch.full((5,), -1))
    drawn = reconstructed(Sampler(torch.nn.Identity(), pipe, Path("prior"), "d"), batch)  # type: ignore[arg-type]
    assert torch.equal(drawn.expected, pipe.fill(images, fully_observed(images)))
    assert torch.equal(SHAPES.from_unit(drawn.final), pipe.reconstruct(images))
    assert int((drawn.final > 0).sum(dim=1).max()) == 1
