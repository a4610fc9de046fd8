from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import COLOUR, DIGITS, SHAPES, sections
from vqkit.image_io.pictures import BACKGROUND, composite, grid, image_files, palette, rows_figure, save_picture
from vqkit.interfaces import DataSpec


@pytest.mark.parametrize("count", [1, 3, 8, 9, 40, 100])
def test_palette_colours_are_distinct_and_never_grey(count: int) -> None:
    spec = DataSpec.uniform("many", tuple(f"c{number}" for number in range(count)), 8, 12, "binary")
    colours = [tuple(colour) for colour in palette(spec).tolist()]
    assert len(colours) == count == len(set(colours))
    assert all(len(set(colour)) > 1 for colour in colours)
    assert BACKGROUND not in colours


def test_palette_of_colour_pictures_is_red_green_blue() -> None:
    assert palette(COLOUR).tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_composite_of_shapes_paints_each_pixel_in_its_colour() -> None:
    images = sections(2)
    painted = composite(images, SHAPES)
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
    assert torch.equal(composite(photo, COLOUR), photo)
    assert torch.equal(composite(photo / 255.0, COLOUR), photo)
    assert torch.equal(composite(photo[:, :1], DIGITS), photo[:, :1].expand(-1, 3, -1, -1))


def test_grid_places_pictures_row_by_row() -> None:
    pictures = torch.stack([torch.full((3, 4, 6), value, dtype=torch.uint8) for value in (10, 20, 30)])
    sheet = np.asarray(grid(pictures, columns=2, scale=2, gap=3))
    assert sheet.shape == (2 * (8 + 3) + 3, 2 * (12 + 3) + 3, 3)
    assert sheet[3, 3, 0] == 10 and sheet[3, 3 + 15, 0] == 20 and sheet[3 + 11, 3, 0] == 30
    assert (sheet[:3] == 255).all() and (sheet[14:, 18:] == 255).all()


def test_rows_figure_holds_every_picture_and_a_label() -> None:
    rows = [("given", composite(sections(2), SHAPES)), ("filled in", composite(sections(1, seed=1), SHAPES))]
    plain = np.asarray(rows_figure(rows, scale=3))
    titled = np.asarray(rows_figure(rows, scale=3, titles=["one", "two"]))
    enlarged = rows[0][1][1].permute(1, 2, 0).numpy().repeat(3, axis=0).repeat(3, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(plain, enlarged.shape)[..., 0, :, :, :]
    assert (windows == enlarged).all(axis=(-1, -2, -3)).sum() == 1
    assert titled.shape[0] > plain.shape[0]
    assert (plain[:, :30] < 200).any(), "the label is missing"


def test_image_files_show_every_component_without_loss(tmp_path: Path) -> None:
    image = sections(1)[0]
    files = image_files(image, "a/b", tmp_path, SHAPES)
    names = ["carcass/a/b_carcass.png", "belt/a/b_belt.png", "tread/a/b_tread.png", "composite/a/b.png"]
    assert [path.relative_to(tmp_path).as_posix() for path in files] == names
    for path, picture in files.items():
        save_picture(picture, path)
    for values, name in zip(image, names, strict=False):
        assert np.array_equal(np.asarray(Image.open(tmp_path / name)), values.numpy())


def test_image_files_of_colour_and_grey_are_one_picture() -> None:
    out = Path("out")
    assert [*image_files(torch.zeros(3, 8, 8, dtype=torch.uint8), "x", out, COLOUR)] == [out / "x.png"]
    (picture,) = image_files(torch.zeros(1, 8, 8, dtype=torch.uint8), "x", out, DIGITS).values()
    assert picture.mode == "L"


def test_save_picture_leaves_nothing_behind_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown file extension"):
        save_picture(Image.new("L", (4, 4)), tmp_path / "x.nothing")
    assert list(tmp_path.iterdir()) == []
