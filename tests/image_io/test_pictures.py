from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from painting import COLOUR, DIGITS, SHAPES, sections
from vqkit.errors import ConfigError
from vqkit.image_io.pictures import (
    BACKGROUND,
    composite,
    display_components,
    grid,
    hatching,
    palette,
    rows_figure,
    save_picture,
)
from vqkit.interfaces import ComponentSpec, DataSpec


@pytest.mark.parametrize("count", [1, 3, 8, 9, 40, 100])
def test_palette_colours_are_distinct_and_never_grey(count: int) -> None:
    spec = DataSpec.uniform("shapes", tuple(f"c{number}" for number in range(count)), 8, 8, "binary")
    colours = [tuple(colour) for colour in palette(spec).tolist()]
    assert len(colours) == count == len(set(colours))
    assert all(len(set(colour)) > 1 for colour in colours)
    assert BACKGROUND not in colours


def test_palette_of_colour_pictures_is_red_green_blue() -> None:
    assert palette(COLOUR).tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_composite_of_shapes_paints_each_pixel_in_its_colour() -> None:
    images = sections(2)
    painted = composite(SHAPES.to_unit(images), SHAPES)
    colours = palette(SHAPES)
    for image, picture in zip(images, painted, strict=True):
        for row in range(8):
            for column in range(12):
                owner = [component for component in range(3) if image[component, row, column]]
                expected = colours[owner[0]].tolist() if owner else list(BACKGROUND)
                assert picture[:, row, column].tolist() == expected


def test_composite_blends_soft_values_with_the_background() -> None:
    images = torch.zeros(1, 3, 8, 12)
    images[0, 1] = 0.25
    expected = [round(255 + 0.25 * (colour - 255)) for colour in palette(SHAPES)[1].tolist()]
    assert composite(images, SHAPES)[0, :, 3, 3].tolist() == expected


def test_composite_of_overlapping_values_stays_between_their_colours() -> None:
    images = torch.ones(1, 3, 8, 12)
    expected = palette(SHAPES).float().mean(dim=0).round().tolist()
    assert composite(images, SHAPES)[0, :, 0, 0].tolist() == expected


def test_composite_leaves_colour_and_grey_pictures_as_they_are() -> None:
    photo = torch.arange(192, dtype=torch.uint8).reshape(1, 3, 8, 8)
    assert torch.equal(composite(COLOUR.to_unit(photo), COLOUR), photo)
    assert torch.equal(composite(DIGITS.to_unit(photo[:, :1]), DIGITS), photo[:, :1].expand(-1, 3, -1, -1))


BANDS = DataSpec(
    "scenes",
    tuple(
        ComponentSpec(name, "intensity", "uint16", 100.0 * number, 100.0 * number + 2550, 0, 9000)
        for number, name in enumerate(["B01", "B02", "B03", "B04", "B08"])
    ),
    4,
    6,
)


def stored(spec: DataSpec, seed: int = 0) -> Tensor:
    """Values from 0 to 3999, beyond the ranges on both sides, [2, C, H, W]."""
    shape = (2, len(spec.components), spec.height, spec.width)
    return torch.randint(4000, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.int32).to(torch.uint16)


def by_hand(value: int, component: ComponentSpec) -> int:
    return round(255 * min(max((value - component.low) / (component.high - component.low), 0), 1))


@pytest.mark.parametrize(
    ("display", "shown"),
    [((), [3, 2, 1]), (("B08", "B04", "B03"), [4, 3, 2]), (("B08",), [4, 4, 4]), (("B01", "B01", "B02"), [0, 0, 1])],
)
def test_composite_of_intensities_is_stretched_by_the_range_of_each(display: tuple[str, ...], shown: list[int]) -> None:
    spec = replace(BANDS, display=display)
    values = stored(spec)
    picture = composite(spec.to_unit(values), spec)
    for channel, position in enumerate(shown):
        for image in range(2):
            for row in range(spec.height):
                for column in range(spec.width):
                    expected = by_hand(int(values[image, position, row, column]), spec.component_specs[position])
                    assert int(picture[image, channel, row, column]) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("dna", "actin", "tubulin"), ("dna",)),
        (("nir", "r", "g", "b"), ("r", "g", "b")),
        (("Blue", "Green", "Red", "Nir"), ("Red", "Green", "Blue")),
        (("B02", "B03", "B04", "B08"), ("B04", "B03", "B02")),
        (("B02", "B03", "B08"), ("B02",)),
    ],
)
def test_what_a_composite_shows_unless_told(names: tuple[str, ...], expected: tuple[str, ...]) -> None:
    assert display_components(DataSpec.uniform("x", names, 4, 4, "intensity")) == expected


def test_display_is_checked_and_travels_with_the_specification() -> None:
    for display, message in [(("B01", "B02"), "names 2"), (("B99",), "no component 'B99'"), (("mask",), "mask, which is binary")]:
        with pytest.raises(ConfigError, match=message):
            replace(BANDS, component_specs=(*BANDS.component_specs, ComponentSpec("mask", "binary")), display=display)
    spec = replace(BANDS, display=("B08", "B04", "B03"))
    assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    older = {key: value for key, value in BANDS.to_json().items() if key != "display"}
    assert DataSpec.from_json(older) == BANDS


def test_shapes_are_painted_half_transparently_over_intensities() -> None:
    spec = DataSpec(
        "cells", (*BANDS.component_specs[:1], ComponentSpec("nucleus", "binary"), ComponentSpec("cell", "binary")), 1, 4
    )
    images = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0, 1, 0, 1], [0, 0, 0.5, 1]]).view(1, 3, 1, 4)
    nucleus, cell = palette(spec)[1:].float()
    grey = torch.full((3,), 51.0)
    expected = [grey, (grey + nucleus) / 2, 0.75 * grey + 0.25 * cell, grey / 2 + nucleus / 4 + cell / 4]
    for pixel, colour in enumerate(expected):
        assert (composite(images, spec)[0, :, 0, pixel].float() - colour).abs().max() <= 0.5


@pytest.mark.parametrize("poison", [0.0, 1.0, -7.0, 1e30, float("nan"), float("inf")])
def test_what_is_not_present_is_hatched_whatever_its_value(poison: float) -> None:
    shapes, colour = SHAPES.to_unit(sections(2)), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for spec, images in ((SHAPES, shapes), (COLOUR, colour)):
        present = torch.rand(images.shape, generator=torch.Generator().manual_seed(1)) < 0.5
        expected = composite(torch.where(present, images, 0.0), spec)
        expected = torch.where(present.any(dim=1, keepdim=True), expected, hatching(8, images.shape[-1]))
        assert torch.equal(composite(torch.where(present, images, poison), spec, present), expected)


def test_hatching_is_striped() -> None:
    stripes = hatching(6, 6)
    assert stripes.shape == (1, 6, 6) and stripes.unique().tolist() == [200, 232]
    assert torch.equal(stripes[0, 1:, :-1], stripes[0, :-1, 1:]) and not torch.equal(stripes[0], stripes[0].flip(0))


def test_grid_places_pictures_row_by_row() -> None:
    pictures = torch.stack([torch.full((3, 4, 6), value, dtype=torch.uint8) for value in (10, 20, 30)])
    sheet = np.asarray(grid(pictures, columns=2, scale=2, gap=3))
    assert sheet.shape == (2 * (8 + 3) + 3, 2 * (12 + 3) + 3, 3)
    assert sheet[3, 3, 0] == 10 and sheet[3, 3 + 15, 0] == 20 and sheet[3 + 11, 3, 0] == 30
    assert (sheet[:3] == 255).all() and (sheet[14:, 18:] == 255).all()


def test_rows_figure_holds_every_picture_and_a_label() -> None:
    rows = [(label, composite(SHAPES.to_unit(sections(count)), SHAPES)) for label, count in (("given", 2), ("filled in", 1))]
    plain = np.asarray(rows_figure(rows, scale=3))
    titled = np.asarray(rows_figure(rows, scale=3, titles=["one", "two"]))
    enlarged = rows[0][1][1].permute(1, 2, 0).numpy().repeat(3, axis=0).repeat(3, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(plain, enlarged.shape)[..., 0, :, :, :]
    assert (windows == enlarged).all(axis=(-1, -2, -3)).sum() == 1
    assert titled.shape[0] > plain.shape[0]
    assert (plain[:, :30] < 200).any(), "the label is missing"


def test_save_picture_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown file extension"):
        save_picture(Image.new("L", (4, 4)), tmp_path / "x.nothing")
    assert list(tmp_path.iterdir()) == []
