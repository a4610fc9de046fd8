"""Sheets of panels: every panel once and whole, below its heading, in blocks that fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vqkit.image_io.panels import overview
from vqkit.image_io.sheets import Bar, Column, PanelRow, panel_sheet
from vqkit.interfaces import ComponentSpec, DataSpec, ShownImages

GREYS = torch.arange(256).to(torch.uint8).expand(3, 256)


def rows(columns: int, height: int, width: int, labels: tuple[str, ...] = ("given", "filled in")) -> list[PanelRow]:
    noise = torch.randint(256, (len(labels), columns, 3, height, width), generator=torch.Generator().manual_seed(0))
    return [PanelRow(label, each.to(torch.uint8)) for label, each in zip(labels, noise, strict=True)]


def places(sheet: NDArray[np.uint8], panel: torch.Tensor, scale: int) -> list[tuple[int, int]]:
    """Where the enlarged panel is on the sheet."""
    wanted = panel.permute(1, 2, 0).numpy().repeat(scale, axis=0).repeat(scale, axis=1)
    corner = (sheet[: -len(wanted) + 1, : -wanted.shape[1] + 1] == wanted[0, 0]).all(axis=-1)
    found = []
    for top, left in np.argwhere(corner):
        if (sheet[top : top + len(wanted), left : left + wanted.shape[1]] == wanted).all():
            found.append((int(top), int(left)))
    return found


@pytest.mark.parametrize("count", [1, 3, 14, 30])
def test_every_panel_is_shown_once_and_whole_however_many_there_are(count: int) -> None:
    shown = rows(count, 10, 7)
    sheet = np.asarray(panel_sheet(shown, [Column(f"band {number}") for number in range(count)]))
    assert sheet.shape[1] <= 1400
    found = [[places(sheet, panel, 13) for panel in row.panels] for row in shown]
    assert all(len(each) == 1 for row in found for each in row)
    tops = [[each[0][0] for each in row] for row in found]
    lefts = [[each[0][1] for each in row] for row in found]
    assert lefts[0] == lefts[1], "rows are aligned"
    assert all(below > above for above, below in zip(*tops, strict=True)), "rows stay in order"
    assert sorted(zip(tops[0], lefts[0], strict=True)) == list(zip(tops[0], lefts[0], strict=True)), "columns stay in order"


def test_columns_are_wide_enough_for_their_headings() -> None:
    bar = Bar(GREYS, "-1234.5", "98765 reflectance", "asinh")
    shown = rows(2, 8, 4)
    sheet = np.asarray(panel_sheet(shown, [Column("a", bar), Column("b", bar)], scale=2))
    (first,), (second,) = (places(sheet, panel, 2) for panel in shown[0].panels)
    assert second[1] - first[1] > 150


def test_a_long_name_is_shortened_and_rows_keep_their_places() -> None:
    shown = rows(2, 8, 8)
    widths = [panel_sheet(shown, [Column("x" * length), Column("b")]).width for length in (5, 60, 600)]
    assert widths[0] < widths[1] == widths[2]


def test_a_sheet_without_headings_leaves_no_room_for_them() -> None:
    shown = rows(1, 8, 8)
    assert panel_sheet(shown, [Column("x")]).height - panel_sheet(shown, [Column("")]).height > 20


def test_the_bar_of_a_heading_runs_from_its_low_to_its_high_end() -> None:
    sheet = np.asarray(panel_sheet(rows(1, 8, 8), [Column("x", Bar(GREYS, "", ""))]))
    steps = [line for line in sheet[:40].astype(int) if (np.diff(line[:, 0]) > 0).sum() > 50]
    assert steps, "there is no bar"
    middle = steps[len(steps) // 2][:, 0]
    inside = middle[middle < 255]
    assert inside.min() < 20 and (np.diff(inside[2:-2]) >= 0).all()


def test_thirteen_bands_fit_beside_and_below_each_other() -> None:
    names = [*(f"B{number:02d}" for number in range(1, 9)), "B8A", *(f"B{number:02d}" for number in range(9, 13))]
    spec = DataSpec("s2", tuple(ComponentSpec(name, dtype="uint16", low=100, high=4000) for name in names), 48, 48)
    images = torch.rand(1, 13, 48, 48, generator=torch.Generator().manual_seed(0))
    sheet = overview([("first", ShownImages(images)), ("second", ShownImages(images))], spec)
    assert 900 < sheet.width <= 1400 and 600 < sheet.height < 900
