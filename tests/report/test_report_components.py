"""Sheets of all components in a report, where composites leave some out."""

from __future__ import annotations

import torch

from painting import COLOUR, SHAPES, STAINS, sections
from vqkit.image_io.panels import overview
from vqkit.image_io.pictures import composite
from vqkit.interfaces import ShownImages
from vqkit.report.pictures import PictureCollector


def test_a_sheet_shows_all_components_of_the_first_image_and_strips_all_images() -> None:
    images = torch.rand(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    observed = torch.rand(5, 4, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    collector = PictureCollector()
    collector.spec = STAINS
    rows = {"original": ShownImages(images), "input": ShownImages(images, observed), "vqvae": ShownImages(images / 2)}
    sheet = collector.components(rows)
    assert sheet is not None and sheet.tobytes() == overview(list(rows.items()), STAINS).tobytes()
    strips = collector.composites(rows)
    assert torch.equal(strips["input"], composite(images, STAINS, observed)) and strips["vqvae"].shape == (5, 3, 8, 8)
    assert collector.components({}) is None


def test_shapes_and_photographs_need_no_sheet() -> None:
    collector = PictureCollector()
    for spec, images in ((SHAPES, SHAPES.to_unit(sections(2))), (COLOUR, torch.rand(2, 3, 8, 8))):
        collector.spec = spec
        assert collector.components({"original": ShownImages(images)}) is None
