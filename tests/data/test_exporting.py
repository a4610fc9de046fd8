from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vqkit.data.exporting import export, first_indices
from vqkit.data.splits import ArraySplit
from vqkit.data.tyre import COMPONENTS, TyreDataset
from vqkit.image_io.pictures import composite
from vqkit.interfaces import DataSpec


def tyres() -> TyreDataset:
    return TyreDataset(TyreDataset.Options(num_train=3, num_val=3, num_test=3))


def test_components_are_exported_in_their_layout(tmp_path: Path) -> None:
    split = tyres().split("test")
    written = export(split, "test", 2, tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    expected = [f"{name}/test_0000{number}_{name}.png" for name in COMPONENTS for number in (0, 1)]
    assert files == sorted([*expected, "composite/test_00000.png", "composite/test_00001.png", "performances.csv"])
    assert sorted(written) == sorted(tmp_path / file for file in files)
    batch = split.batch(torch.arange(2))
    for number in (0, 1):
        for component, name in enumerate(COMPONENTS):
            picture = Image.open(tmp_path / name / f"test_0000{number}_{name}.png")
            assert np.array_equal(np.asarray(picture), batch.images[number, component].numpy())
        shown = np.asarray(Image.open(tmp_path / "composite" / f"test_0000{number}.png").convert("RGB"))
        assert np.array_equal(shown, composite(split.spec.to_unit(batch.images), split.spec)[number].permute(1, 2, 0).numpy())


def test_colour_pictures_are_exported_as_they_are(tmp_path: Path) -> None:
    images = torch.randint(256, (3, 3, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    split = ArraySplit(DataSpec.uniform("photos", ("r", "g", "b"), 4, 5, "intensity"), images, names=["a", "b", "c"])
    written = export(split, "val", 99, tmp_path)
    assert [path.name for path in written] == ["a.png", "b.png", "c.png"]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), images[1].permute(1, 2, 0).numpy())


def test_no_more_indices_than_images() -> None:
    assert first_indices(tyres().split("val"), 2).tolist() == [0, 1]
    assert first_indices(tyres().split("val"), 9).tolist() == [0, 1, 2]
