"""Figures of filling in: which rows they have, and that what is absent does not show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from painting import COLOUR, SHAPES, STAINS, sections
from vqkit.image_io.panels import columns, difference_row, views
from vqkit.image_io.pictures import composite, rows_figure
from vqkit.image_io.sheets import Column, PanelRow, panel_sheet
from vqkit.inference.figures import MAX_SHOWN, before_after, completions_figure

IMAGES = sections(3)
EVERYWHERE = torch.ones(3, 8, 12, dtype=torch.bool)
BELT = torch.zeros(3, 8, 12, dtype=torch.bool)
BELT[1] = True


def shapes(image: torch.Tensor) -> torch.Tensor:
    return SHAPES.to_unit(image[None])[0]


def test_before_and_after_with_the_truth_and_the_difference_where_it_is_known() -> None:
    truth, filled = IMAGES[0], IMAGES[1]
    rows = [
        PanelRow("given", views(shapes(truth), SHAPES, BELT)),
        PanelRow("filled in", views(shapes(filled), SHAPES)),
        PanelRow("truth", views(shapes(truth), SHAPES, EVERYWHERE)),
        difference_row(shapes(filled), shapes(truth), SHAPES),
    ]
    assert same(before_after(truth, BELT, EVERYWHERE, filled, SHAPES), panel_sheet(rows, columns(SHAPES)))
    assert same(before_after(truth, BELT, BELT, filled, SHAPES), panel_sheet(rows[:2], columns(SHAPES)))


def test_truth_is_shown_where_there_is_some_and_hatched_elsewhere() -> None:
    present = EVERYWHERE.clone()
    present[2] = False
    figures = [before_after(torch.where(present, IMAGES[0], value), BELT, present, IMAGES[1], SHAPES) for value in (0, 255, 7)]
    assert same(figures[0], figures[1]) and same(figures[0], figures[2])
    assert not same(figures[0], before_after(IMAGES[0], BELT, EVERYWHERE, IMAGES[1], SHAPES))
    assert figures[0].size == before_after(IMAGES[0], BELT, EVERYWHERE, IMAGES[1], SHAPES).size


def test_a_photograph_with_a_hole_is_shown_whole_and_one_that_keeps_a_channel_by_channels() -> None:
    photo = torch.randint(256, (3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    hole, red = torch.ones(2, 3, 8, 8, dtype=torch.bool)
    hole[:, 2:5, 2:5] = False
    red[1:] = False
    whole, channels = (before_after(photo, observed, torch.ones_like(hole), 255 - photo, COLOUR) for observed in (hole, red))
    assert channels.width > 3 * whole.width / 2
    unit = COLOUR.to_unit(photo[None])
    picture = np.asarray(composite(unit, COLOUR, hole[None])[0].permute(1, 2, 0)).repeat(16, axis=0).repeat(16, axis=1)
    sheet, (height, width, _) = np.asarray(whole), picture.shape
    corners = np.argwhere((sheet == picture[0, 0]).all(axis=-1))
    assert any(np.array_equal(sheet[top : top + height, left : left + width], picture) for top, left in corners)


@pytest.mark.parametrize("known", [True, False])
def test_completions_of_shapes_are_composites_in_one_row(known: bool) -> None:
    present = EVERYWHERE if known else BELT
    answers, nll = torch.stack([IMAGES[1], IMAGES[2]]), torch.tensor([1.26, 20.0])
    uncertainty = torch.arange(288).view(3, 8, 12) / 287
    largest = (uncertainty.amax(0) * 255).round().to(torch.uint8)
    shown = [composite(SHAPES.to_unit(IMAGES[:1]), SHAPES, BELT[None]), composite(SHAPES.to_unit(answers), SHAPES)]
    shown.append(largest.expand(1, 3, 8, 12))
    titles = ["given", "1.3 nats", "20.0 nats", "uncertainty"]
    if known:
        shown.append(composite(SHAPES.to_unit(IMAGES[:1]), SHAPES))
        titles.append("truth")
    figure = completions_figure(IMAGES[0], BELT, present, answers, nll, uncertainty, SHAPES)
    assert same(figure, rows_figure([("", torch.cat(shown))], titles=titles))


def test_completions_of_stains_have_a_row_each_and_a_panel_for_every_component() -> None:
    generator = torch.Generator().manual_seed(0)
    image, *answers = torch.randint(256, (3, 4, 8, 8), generator=generator, dtype=torch.uint8)
    everywhere = torch.ones(4, 8, 8, dtype=torch.bool)
    observed = everywhere.clone()
    observed[2:] = False
    arguments = torch.stack(answers), torch.tensor([3.0, 4.0]), torch.rand(4, 8, 8, generator=generator)
    figure = completions_figure(image, observed, everywhere, *arguments, STAINS)
    row = 8 * 16 + 8
    sheet = panel_sheet([PanelRow("", torch.zeros(4, 3, 8, 8, dtype=torch.uint8))], [Column(name) for name in STAINS.components])
    assert figure.height == sheet.height + 4 * row and figure.width > 4 * row


def test_a_figure_of_many_answers_shows_the_first() -> None:
    flat = torch.zeros(3, 8, 12)
    few, many = (
        completions_figure(IMAGES[0], BELT, BELT, IMAGES[:1].repeat(count, 1, 1, 1), torch.ones(count), flat, SHAPES)
        for count in (MAX_SHOWN, 30)
    )
    assert same(few, many)


def same(first: Image.Image, second: Image.Image) -> bool:
    return first.size == second.size and first.tobytes() == second.tobytes()
