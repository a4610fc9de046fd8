from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.config import NamedOptions
from vqkit.data.arrays import ArrayDataset
from vqkit.data.components import ComponentDataset
from vqkit.data.exporting import export
from vqkit.data.images import ImageFolderDataset
from vqkit.data.opening import open_dataset, recognise, resolve_data
from vqkit.data.tyre import TyreDataset
from vqkit.errors import ConfigError, DataError


def test_a_name_is_resolved_with_its_defaults() -> None:
    resolved = resolve_data(NamedOptions(name="tyre", num_train=7))
    assert resolved.options == {"num_train": 7, "num_val": 500, "num_test": 1000, "seed": 0}
    assert resolve_data(resolved) == resolved
    dataset = open_dataset(resolved)
    assert isinstance(dataset, TyreDataset)
    assert len(dataset.split("train")) == 7


def test_paths_are_recognised_by_their_layout(tmp_path: Path) -> None:
    export(TyreDataset(TyreDataset.Options(num_train=3)).split("train"), "train", 3, tmp_path / "sections")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "b.png")
    np.save(tmp_path / "a.npy", np.zeros((4, 8, 8), dtype=np.uint8))
    for name, layout, kind in (
        ("sections", "components", ComponentDataset),
        ("photos", "images", ImageFolderDataset),
        ("a.npy", "arrays", ArrayDataset),
    ):
        path = tmp_path / name
        assert recognise(path) == layout
        assert resolve_data(str(path)).name == layout
        assert resolve_data(str(path)).options["path"] == str(path)
        assert isinstance(open_dataset(str(path)), kind)


def test_options_of_a_path_reach_its_data_set(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    dataset = open_dataset(NamedOptions(name=str(tmp_path), height=4))
    assert (dataset.spec.height, dataset.spec.width) == (4, 4)
    with pytest.raises(ConfigError, match="no setting 'hight'"):
        open_dataset(NamedOptions(name=str(tmp_path), hight=4))


def test_what_is_neither_a_name_nor_a_path_is_refused() -> None:
    with pytest.raises(DataError, match="'tire' is neither a data set nor a path") as refused:
        open_dataset("tire")
    assert "Did you mean 'tyre'?" in refused.value.hint


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no pictures in the directory"):
        open_dataset(str(tmp_path))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"notes\.txt is not a data set"):
        open_dataset(str(tmp_path / "notes.txt"))


def test_an_exported_test_split_opens_as_one(tmp_path: Path) -> None:
    original = TyreDataset(TyreDataset.Options(num_train=3, num_test=3)).split("test")
    export(original, "test", 3, tmp_path)
    split = open_dataset(str(tmp_path)).split("test")
    indices = torch.arange(3)
    assert torch.equal(split.batch(indices).images, original.batch(indices).images)
    assert torch.equal(split.batch(indices).conditions, original.batch(indices).conditions)
    assert split.names(indices) == original.names(indices)
    with pytest.raises(DataError, match="has no images for train"):
        open_dataset(str(tmp_path)).split("train")
