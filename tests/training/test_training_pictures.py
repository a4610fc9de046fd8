"""The sheets of pictures that a run writes."""

from __future__ import annotations

import numpy as np
import torch

from painting import COLOUR, SHAPES, STAINS, sections
from vqkit.image_io.panels import overview
from vqkit.image_io.pictures import composite, grid
from vqkit.interfaces import ShownImages
from vqkit.training.pictures import training_pictures


def test_a_grid_for_every_row_and_a_sheet_of_components_where_composites_leave_some_out() -> None:
    images = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    part = torch.rand(3, 4, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    rows = {"orig": ShownImages(images), "given": ShownImages(images, part)}
    sheets = training_pictures(rows, STAINS)
    assert list(sheets) == ["orig", "given", "components"]
    assert sheets["given"].tobytes() == grid(composite(images, STAINS, part), 8, 16).tobytes()
    assert sheets["components"].tobytes() == overview(list(rows.items()), STAINS).tobytes()
    for spec, shown in ((SHAPES, SHAPES.to_unit(sections(3))), (COLOUR, images[:, :3])):
        assert list(training_pictures({"orig": ShownImages(shown)}, spec)) == ["orig"]


def test_what_is_hidden_is_hatched_and_half_precision_is_drawn() -> None:
    hidden = torch.zeros(1, 1, 8, 12, dtype=torch.bool)
    drawn = training_pictures({"given": ShownImages(SHAPES.to_unit(sections(1)).to(torch.bfloat16), hidden)}, SHAPES)
    assert set(np.unique(np.asarray(drawn["given"])[2:-2, 2:-2])) == {200, 232}
