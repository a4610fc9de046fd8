"""Panels of components: their greys, what they stretch to, differences, and what is hatched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from painting import COLOUR, DIGITS, SHAPES, STAINS, sections
from vqkit.image_io.panels import (
    LARGEST_SIDE,
    columns,
    component_bar,
    difference_row,
    grey_row,
    number_text,
    overview,
    panels,
    reduced,
    shown_range,
    views,
)
from vqkit.image_io.pictures import composite, hatching, palette
from vqkit.interfaces import ComponentSpec, DataSpec, ShownImages

MIXED = DataSpec(
    "scan",
    (
        ComponentSpec("photons", "intensity", "uint16", 50, 1050, 0, 4000, unit="counts"),
        ComponentSpec("cell", "binary"),
        ComponentSpec("height", "intensity", "float32", -2, 3, -5, 9, transform="asinh"),
    ),
    8,
    8,
)


def values(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("stored", "grey"), [(0, 0), (50, 0), (52, 1), (300, 64), (550, 128), (1046, 254), (1050, 255), (4000, 255)]
)
def test_the_grey_of_a_stored_value_is_its_place_in_the_range(stored: int, grey: int) -> None:
    images = torch.tensor([stored, 0, 0], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert panels(MIXED.to_unit(images), MIXED)[0, 0].unique().tolist() == [grey]


def test_shapes_have_the_colour_of_the_palette_on_white() -> None:
    images = torch.tensor([0.0, 1.0, 0.25]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    picture = panels(images, replace(MIXED, height=1, width=3))[0, 1]
    colour = palette(MIXED)[1]
    assert picture[:, 0, 0].tolist() == [255] * 3 and torch.equal(picture[:, 0, 1], colour)
    assert picture[:, 0, 2].tolist() == [round(255 + 0.25 * (int(each) - 255)) for each in colour]
    single = DataSpec.uniform("digits", ("grey",), 1, 3, "binary")
    assert torch.equal(panels(images[:, :1], single)[0], composite(images[:, :1], single)), "a single component stays grey"


@pytest.mark.parametrize("poison", [0.0, 1.0, -7.0, 1e30, float("nan"), float("inf")])
def test_what_is_not_present_changes_nothing(poison: float) -> None:
    images, present = values(1, 3, 8, 8), values(1, 3, 8, 8, seed=1) < 0.6
    poisoned = torch.where(present, images, poison)
    drawn = panels(poisoned, MIXED, present)[0]
    clean = torch.where(present, images, 0.0)
    assert torch.equal(drawn, torch.where(present[0, :, None], panels(clean, MIXED)[0], hatching(8, 8)))
    ends = shown_range([ShownImages(clean, present)], MIXED)
    assert torch.equal(shown_range([ShownImages(poisoned, present)], MIXED), ends)
    assert torch.equal(views(poisoned[0], MIXED, present[0], ends), views(clean[0], MIXED, present[0], ends))
    first = difference_row(poisoned[0], images[0], MIXED, present[0])
    other = difference_row(clean[0], poisoned[0], MIXED, present[0])
    assert torch.equal(first.panels, other.panels) and first.bar is not None and other.bar is not None
    assert (first.bar.low, first.bar.high) == (other.bar.low, other.bar.high)
    sheets = [overview([("x", ShownImages(each, present))], MIXED).tobytes() for each in (poisoned, clean)]
    assert sheets[0] == sheets[1]


def test_the_whole_range_is_shown_unless_images_use_less_than_half_of_it() -> None:
    images = torch.stack([torch.linspace(low, high, 10_001) for low, high in [(0, 0.6), (0.2, 0.4), (0.5, 0.501), (-3, 5)]])
    ends = shown_range([ShownImages(images.view(1, 4, 73, 137))], STAINS)
    expected = torch.tensor([[0, 1], [0.201, 0.399], [0.4505, 0.5505], [0, 1]])
    assert torch.allclose(ends, expected, atol=1e-3)
    found = np.percentile(images[1].numpy(), [0.5, 99.5])
    assert np.allclose(ends[1].numpy(), found, atol=1e-6)
    together = [ShownImages(images[:, :73].reshape(1, 4, 73, 1)), ShownImages(torch.ones(1, 4, 73, 1))]
    assert shown_range(together, STAINS)[1].tolist() == [0, 1], "all rows of a figure have one range"


def test_the_range_shown_stays_within_the_range_and_leaves_shapes_and_photographs_alone() -> None:
    low, high = torch.zeros(1, 4, 8, 8), torch.full((1, 4, 8, 8), 7.0)
    assert torch.allclose(shown_range([ShownImages(low)], STAINS), torch.tensor([0.0, 0.1]))
    assert torch.allclose(shown_range([ShownImages(high)], STAINS), torch.tensor([0.9, 1.0]))
    assert shown_range([ShownImages(low[:, :3])], COLOUR).tolist() == [[0, 1]] * 3
    assert shown_range([ShownImages(torch.zeros(1, 3, 8, 12))], SHAPES).tolist() == [[0, 1]] * 3


def test_panels_of_a_narrow_range_are_stretched_and_the_bar_says_how_far() -> None:
    images = 0.2 + 0.1 * values(3, 8, 8)
    ends = torch.tensor([[0.2, 0.3], [0, 1], [0.25, 0.5]])
    drawn = views(images, MIXED, None, ends)
    assert torch.equal(drawn[1, 0], ((images[0] - 0.2) / 0.1 * 255).round().to(torch.uint8))
    assert torch.equal(drawn[3, 0], ((images[2] - 0.25).clamp_min(0) / 0.25 * 255).round().to(torch.uint8))
    bars = [component_bar(position, MIXED, ends) for position in range(3)]
    assert (bars[0].low, bars[0].high) == ("250", "350 counts")
    top = np.arcsinh(-2) + np.array([0.25, 0.5]) * (np.arcsinh(3) - np.arcsinh(-2))
    assert (bars[2].low, bars[2].high, bars[2].between) == (*(f"{np.sinh(each):.4g}" for each in top), "asinh")
    assert [component_bar(position, MIXED).low for position in range(3)] == ["50", "", "-2"]


def test_colours_of_a_composite_share_one_stretch() -> None:
    spec = DataSpec.uniform("scene", ("red", "green", "blue", "nir"), 8, 8, "intensity")
    images = values(4, 8, 8) * torch.tensor([0.1, 0.2, 0.3, 0.9])[:, None, None]
    ends = torch.tensor([[0.0, 0.1], [0.0, 0.2], [0.1, 0.3], [0, 1]])
    expected = (images[:3] / 0.3 * 255).round()
    assert (views(images, spec, None, ends)[0].float() - expected).abs().max() <= 1


def test_columns_and_views_fit_each_other() -> None:
    titles = {spec.name: [column.title for column in columns(spec)] for spec in (STAINS, SHAPES, COLOUR, DIGITS, MIXED)}
    assert titles["cells"] == ["dna", "actin", "tubulin", "golgi"], "a composite would be the first component again"
    assert titles["digits"] == ["grey"] and titles["sections"] == ["together", "carcass", "belt", "tread"]
    for spec in (STAINS, SHAPES, COLOUR, DIGITS, MIXED):
        image = values(len(spec.components), spec.height, spec.width)
        shapes = {views(image, spec).shape, grey_row("", image, spec).panels.shape, difference_row(image, image, spec).panels.shape}
        assert shapes == {(len(titles[spec.name]), 3, spec.height, spec.width)}


def test_differences_are_red_where_too_high_and_blue_where_too_low() -> None:
    truth = torch.full((4, 8, 8), 0.5)
    filled = truth.clone()
    filled[0, :, 0], filled[1, :, 1], filled[2, 2, 2] = 0.55, 0.42, 0.9
    row = difference_row(filled, truth, STAINS)
    assert row.bar is not None and (row.bar.low, row.bar.high, row.bar.between) == ("-0.1", "+0.1", "of the range")
    high, low = torch.tensor([178, 24, 43]), torch.tensor([33, 102, 172])
    assert row.panels[3].unique().tolist() == [255]
    assert (row.panels[0, :, 4, 0] - (255 + 0.5 * (high - 255))).abs().max() <= 1
    assert (row.panels[1, :, 4, 1] - (255 + 0.8 * (low - 255))).abs().max() <= 1
    assert torch.equal(row.panels[2, :, 2, 2].long(), high), "beyond the scale"


def test_differences_of_shapes_are_whole_and_their_composite_is_the_root_mean_square() -> None:
    truth = SHAPES.to_unit(sections(1))[0]
    row = difference_row(1 - truth, truth, SHAPES)
    assert row.bar is not None and (row.bar.low, row.bar.high) == ("-1", "+1")
    colours = {tuple(colour) for colour in row.panels[1:].permute(0, 2, 3, 1).reshape(-1, 3).tolist()}
    assert colours == {(178, 24, 43), (33, 102, 172)}
    one = truth.clone()
    one[0] = 1 - one[0]
    mean = difference_row(one, truth, SHAPES).panels[0]
    assert (mean[:, 0, 0] - (255 + (torch.tensor([178, 24, 43]) - 255) / 3**0.5)).abs().max() <= 1


@pytest.mark.parametrize("size", [(LARGEST_SIDE + 1, 3), (600, 515), (40, 1000)])
def test_large_images_are_reduced_to_means_of_what_is_present(size: tuple[int, int]) -> None:
    images, present = values(1, 2, *size), values(1, 2, *size, seed=1) < 0.1
    small, known = reduced(torch.where(present, images, torch.nan), present)
    assert known is not None and max(small.shape[2:]) <= LARGEST_SIDE
    factor = -(-max(size) // LARGEST_SIDE)
    for position in np.ndindex(*(min(side, 7) for side in small.shape[2:])):
        block = tuple(slice(factor * at, factor * (at + 1)) for at in position)
        inside = present[0, 1][block]
        assert bool(known[0, 1][position]) == bool(inside.any())
        if inside.any():
            assert float(small[0, 1][position]) == pytest.approx(float(images[0, 1][block][inside].mean()), abs=1e-5)


def test_small_images_keep_every_pixel() -> None:
    images = values(1, 2, 8, LARGEST_SIDE)
    assert torch.equal(reduced(images)[0], images)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (4095, "4095"), (12345.6, "12346"), (0.02134567, "0.02135"), (-2, "-2"), (65535, "65535")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number_text(value) == text
