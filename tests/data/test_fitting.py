from __future__ import annotations

from pathlib import Path

import pytest

from vqkit.data.arranging import ImageFiles, Part, check_extents
from vqkit.data.fitting import FitChoice, ImageKind, SizeSettings, Tile, choose_tile
from vqkit.data.headers import FileHeader, Form
from vqkit.data.image_reading import Scaling
from vqkit.errors import DataError

ROOT = Path("set")


def image(name: str, *sizes: tuple[int, int]) -> ImageFiles:
    """An image whose components have these sizes."""
    headers = (
        FileHeader(Path(f"{name}_{number}.tif"), Form(1, *size, "uint16"), (), (), None, False, False)
        for number, size in enumerate(sizes)
    )
    return ImageFiles(name, tuple(Part(header, 0) for header in headers))


def tile(
    sizes: list[tuple[int, int]], kind: ImageKind, fit: FitChoice = "auto", height: int | None = None, width: int | None = None
) -> Tile:
    images = [image(str(number), size) for number, size in enumerate(sizes)]
    return choose_tile(images, SizeSettings(height, width, fit), kind, ROOT)


@pytest.mark.parametrize("kind", ["photograph", "eight bits", "measurement"])
def test_one_size_is_kept(kind: ImageKind) -> None:
    assert tile([(96, 200)] * 3, kind) == Tile(96, 200)


def test_large_measurements_become_tiles_and_large_photographs_do_not() -> None:
    chosen = tile([(512, 300)] * 3, "measurement")
    assert (chosen.height, chosen.width, chosen.scaling) == (64, 64, None)
    assert "are 512 x 300; the model sees tiles of 64 x 64" in chosen.note
    assert tile([(512, 300)] * 3, "photograph") == Tile(512, 300)
    assert tile([(512, 300)] * 3, "eight bits") == Tile(512, 300)


def test_measurements_of_several_sizes_become_tiles_that_fit_into_all() -> None:
    chosen = tile([(512, 300), (60, 400)], "measurement")
    assert chosen[:3] == (56, 64, None)
    assert "60 x 400 to 512 x 300" in chosen.note
    assert tile([(9, 7), (20, 30)], "measurement")[:2] == (8, 7)


def test_photographs_of_several_sizes_are_scaled() -> None:
    chosen = tile([(512, 300), (60, 400), (60, 400)], "photograph")
    assert chosen[:3] == (64, 64, Scaling(64, 64, smooth=True))
    assert "2 different sizes; all are scaled and centre-cropped to 64 x 64" in chosen.note


def test_shapes_of_several_sizes_are_neither_scaled_nor_cut_unasked() -> None:
    with pytest.raises(DataError, match=r"1_0\.tif is 64 wide and 32 high, not 30 and 32 like the others") as refused:
        tile([(32, 30), (32, 64), (32, 30)], "eight bits")
    assert "set data.height and data.width" in refused.value.hint
    assert tile([(32, 30), (32, 64)], "eight bits", height=16)[:3] == (16, 16, None)
    assert tile([(32, 30), (32, 64)], "eight bits", "crop")[:3] == (32, 24, None)


def test_the_size_may_be_set() -> None:
    assert tile([(32, 48)], "measurement", height=32, width=48) == Tile(32, 48)
    assert tile([(32, 48)], "measurement", width=16) == Tile(16, 16)
    assert tile([(32, 48)], "photograph", height=16, width=8) == Tile(16, 8, Scaling(16, 8, smooth=True))
    assert tile([(32, 48)], "photograph", "crop", 16, 8) == Tile(16, 8)
    assert tile([(32, 48)], "measurement", "scale", 16, 8) == Tile(16, 8, Scaling(16, 8, smooth=False))
    assert tile([(32, 48), (50, 50)], "measurement", "scale")[:3] == (64, 64, Scaling(64, 64, smooth=False))


def test_images_smaller_than_the_tile_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"1_0\.tif is 40 wide and 20 high, smaller than a tile, which is 32 and 32; so are 2"
    ) as refused:
        tile([(64, 64), (20, 40), (90, 31)], "measurement", height=32)
    assert "data.height to at most 20 and data.width to at most 31" in refused.value.hint
    assert "data.fit=scale" in refused.value.hint


def test_components_of_one_image_show_the_same_area() -> None:
    check_extents([image("a", (40, 60), (20, 30), (13, 20)), image("b", (41, 60), (21, 31))])
    for wrong in ((40, 61), (20, 28), (10, 20)):
        with pytest.raises(DataError, match="they do not show the same area"):
            check_extents([image("c", (40, 60), wrong)])
