"""No command writes over what it reads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vqkit.cli.data import data_app
from vqkit.errors import DataError
from vqkit.image_io.overwriting import check_not_data, check_not_input, data_files
from vqkit.image_io.pictures import save_picture, to_pil


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A directory of pictures."""
    for number in range(3):
        save_picture(to_pil(torch.full((8, 8), number, dtype=torch.uint8)), tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def test_an_input_is_not_replaced_whatever_its_name(photos: Path) -> None:
    image = photos / "0.png"
    (photos / "hard.png").hardlink_to(image)
    (photos / "soft.png").symlink_to(image)
    for out in (image, photos / "hard.png", photos / "soft.png", photos / ".." / "photos" / "0.png"):
        with pytest.raises(DataError, match=r"would replace the input"):
            check_not_input(out, [photos / "1.png", image])
    for out in (photos / "new.png", photos / "2.png"):
        check_not_input(out, [photos / "1.png", image, photos / "missing.png"])


def test_nor_is_an_image_inside_of_a_directory(photos: Path) -> None:
    (photos / "results.json").write_text("{}")
    with pytest.raises(DataError, match=r"would replace an image of"):
        check_not_input(photos / "0.png", [photos])
    check_not_input(photos / "results.json", [photos])
    check_not_input(photos / "new.png", [photos])


def test_data_is_not_exported_over_itself(photos: Path) -> None:
    for out in (photos, photos / "test"):
        out.mkdir(exist_ok=True)
        with pytest.raises(DataError, match=r"holds the images that are to be written"):
            check_not_data(out, [photos])
    check_not_data(photos / "exported", [photos])
    assert data_files(f"{photos}, {photos / '0.png'}") == [photos, photos / "0.png"] and data_files("tyre") == []


def test_the_commands_of_data_keep_what_they_read(photos: Path) -> None:
    before = {path: path.read_bytes() for path in photos.iterdir()}
    for arguments in (["preview", "--out", str(photos / "0.png")], ["export", "--out", str(photos)]):
        result = CliRunner().invoke(data_app, [arguments[0], str(photos), *arguments[1:]])
        assert isinstance(result.exception, DataError), result.output
    assert {path: path.read_bytes() for path in photos.iterdir()} == before
