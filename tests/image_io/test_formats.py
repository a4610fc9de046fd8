from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

import vqkit
from vqkit.image_io.formats import FORMATS, IMAGE_SUFFIXES, PICTURE_SUFFIXES, WRITABLE_SUFFIXES, has_suffix
from vqkit.image_io.pictures import save_picture, to_pil
from vqkit.image_io.rasters import open_raster

SOURCES = sorted(Path(vqkit.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_what_is_written_can_be_read(tmp_path: Path, suffix: str) -> None:
    save_picture(to_pil(torch.full((3, 6, 9), 255, dtype=torch.uint8)), tmp_path / f"white{suffix}")
    with open_raster(tmp_path / f"white{suffix}") as raster:
        values = raster.read().values
    assert values.shape == (3, 6, 9) and int(values.min()) == 255


def test_pillow_knows_every_picture_suffix() -> None:
    assert Image.registered_extensions().keys() >= PICTURE_SUFFIXES


def test_a_suffix_belongs_to_one_format() -> None:
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(set(suffixes)) == len(suffixes)


def test_the_case_of_a_suffix_does_not_matter() -> None:
    assert has_suffix(Path("a.PNG"), IMAGE_SUFFIXES)
    assert not has_suffix(Path("a.npz"), IMAGE_SUFFIXES)


@pytest.mark.parametrize("call", ["Image.open(", "np.load(", "tifffile.TiffFile(", "rasterio.open("])
def test_files_are_opened_by_image_io_alone(call: str) -> None:
    """A format that is added there is then read everywhere."""
    users = [path for path in SOURCES if call in path.read_text()]
    assert users and all("image_io" in path.parts for path in users)
