from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import by_name, counts, everything, save_components
from PIL import Image, ImageOps

from vqkit.data.components import ComponentDataset
from vqkit.data.images import ImageFolderDataset
from vqkit.errors import DataError


def images(root: Path, **settings: Any) -> ImageFolderDataset:
    return ImageFolderDataset(ImageFolderDataset.Options(path=str(root), validation_share=0.01, **settings))


def photograph(width: int, height: int, seed: int) -> Image.Image:
    values = torch.randint(256, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(values.numpy())


@pytest.mark.parametrize("memory", [0, 10])
def test_photographs_are_scaled_and_cropped_as_pillow_does(tmp_path: Path, memory: int) -> None:
    sizes = [(20, 30), (50, 11), (16, 16), (40, 40)]
    for number, size in enumerate(sizes):
        photograph(*size, number).save(tmp_path / f"{number}.png")
    dataset = images(tmp_path, height=16, memory_mb=memory)
    assert (dataset.spec.value_kind, dataset.spec.components) == ("intensity", ("r", "g", "b"))
    for name, stored in by_name(dataset.split("train")).items():
        expected = ImageOps.fit(photograph(*sizes[int(name)], int(name)), (16, 16), method=Image.Resampling.LANCZOS)
        assert np.array_equal(stored, np.moveaxis(np.asarray(expected), -1, 0))


def test_a_large_jpeg_is_decoded_at_a_fraction_only_where_it_is_scaled(tmp_path: Path) -> None:
    for number in range(3):
        photograph(512, 256, number).save(tmp_path / f"{number}.jpg", quality=95)
    (name, scaled), *_ = by_name(images(tmp_path, height=32).split("train")).items()
    with Image.open(tmp_path / f"{name}.jpg") as picture:
        picture.draft("RGB", (32, 32))
        expected = np.moveaxis(np.asarray(ImageOps.fit(picture, (32, 32), method=Image.Resampling.LANCZOS)), -1, 0)
        assert picture.size == (64, 32)
    assert np.array_equal(scaled, expected)
    assert images(tmp_path).spec.height == 256


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_component_of_twice_the_size_is_refused_in_every_format(tmp_path: Path, suffix: str) -> None:
    for component in ("bt", "fpu"):
        (tmp_path / component).mkdir()
        for number in range(4):
            side = 64 if number == 2 else 32
            Image.new("L", (side, side), number).save(tmp_path / component / f"s{number}_{component}.{suffix}")
    with pytest.raises(DataError, match=rf"s2_bt\.{suffix} is 64 wide and 64 high, not 32 and 32 like the others"):
        ComponentDataset(ComponentDataset.Options(path=str(tmp_path)))


def test_transparency_is_scaled_with_the_picture(tmp_path: Path) -> None:
    for number in range(3):
        picture = photograph(40, 40, number).convert("RGBA")
        picture.putalpha(Image.fromarray(np.repeat([[0] * 20 + [255] * 20], 40, axis=0).astype(np.uint8)))
        picture.save(tmp_path / f"{number}.png")
    stored, present = everything(images(tmp_path, height=10).split("train"))
    assert present is not None
    assert present[:, 0].all(dim=1).tolist() == [[False] * 5 + [True] * 5] * len(stored)
    assert (stored[:, :, :, :4] >= 250).all()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("nodata", [0.0, {"grey": 0.0}])
@pytest.mark.parametrize("memory", [0, 10])
def test_what_is_absent_does_not_bleed_into_photographs_that_are_scaled(
    tmp_path: Path, suffix: str, nodata: float | dict[str, float], memory: int
) -> None:
    values = np.full((128, 128), 100, np.uint8)
    values[:, :48] = 0  # a multiple of 8, so that the blocks of a JPEG hold these values exactly
    for number in range(3):
        Image.fromarray(values).save(tmp_path / f"{number}.{suffix}", quality=100)
    stored, present = everything(images(tmp_path, height=30, nodata=nodata, memory_mb=memory).split("train"))
    assert present is not None
    assert set(stored[present.expand(stored.shape).numpy()].tolist()) == {100}
    assert present[0, 0, 0].tolist() == [False] * 11 + [True] * 19


def test_colours_under_full_transparency_do_not_bleed(tmp_path: Path) -> None:
    values = np.full((64, 64, 4), (10, 200, 90, 255), np.uint8)
    values[:30] = 255, 0, 255, 0
    for number in range(3):
        Image.fromarray(values).save(tmp_path / f"{number}.png")
    stored, present = everything(images(tmp_path, height=20).split("train"))
    assert present is not None
    for channel, value in enumerate((10, 200, 90)):
        assert set(stored[:, channel][present[:, channel].numpy()].tolist()) == {value}


@pytest.mark.parametrize("memory", [0, 10])
def test_measurements_are_scaled_in_their_own_type_without_what_is_absent(tmp_path: Path, memory: int) -> None:
    flat = np.full((24, 30), 1000, np.uint16)
    flat[:, 15:] = 3000
    flat[3:6, 3:6] = 65535
    save_components(tmp_path, {"dna": [flat] * 4, "mask": [(flat > 2000).astype(np.uint8)] * 4})
    settings = ComponentDataset.Options(
        path=str(tmp_path), height=8, width=8, fit="scale", nodata={"dna": 65535}, memory_mb=memory, validation_share=0.01
    )
    dataset = ComponentDataset(settings)
    stored, present = everything(dataset.split("train"))
    assert stored.dtype == np.uint16
    # The middle 24 x 24 pixels are seen: 12 columns of each value, of which 3 x 3 pixels lack on the left.
    assert set(np.unique(stored[:, 0, :, [0, 1, 2, 5, 6, 7]])) <= {1000, 3000}
    assert set(np.unique(stored[:, 1])) == {0, 1}
    assert present is not None
    assert bool(present[:, 1].all())
    assert (~present[:, 0]).sum(dim=(1, 2)).tolist() == [1] * 3
    spec = dataset.spec.component_specs[0]
    assert (spec.minimum, spec.maximum) == (1000, 3000)


def test_conditions_of_a_table_belong_to_images_in_one_file_too(tmp_path: Path) -> None:
    for number, image in enumerate(counts(4, (6, 5))):
        np.save(tmp_path / f"p{number}.npy", image)
    rows = [f"P{number},{number == 3},{number / 2}" for number in range(4)]
    (tmp_path / "performances.csv").write_text("\n".join(["matching,test,depth", *rows]))
    dataset = images(tmp_path, conditions=("depth",))
    assert dataset.spec.condition_names == ("depth",)
    test = dataset.split("test")
    assert test.names(torch.arange(len(test))) == ["p3"]
    assert test.batch(torch.tensor([0])).conditions.tolist() == [[1.5]]


def test_stacks_beside_components_in_files_of_their_own_are_refused(tmp_path: Path) -> None:
    dna = counts(4, (6, 5))
    save_components(tmp_path, {"dna": [*dna[:3], np.stack([dna[3]] * 2)], "actin": dna})
    settings = ComponentDataset.Options(path=str(tmp_path), pattern="{component}/{name}_{component}.npy")
    with pytest.raises(DataError, match=r"cell3_dna\.npy has 2 channels, where one is expected: the component dna of cell3"):
        ComponentDataset(settings)
