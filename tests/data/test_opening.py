from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqkit.config import NamedOptions, RunConfig
from vqkit.data.arrays import ArrayDataset
from vqkit.data.components import ComponentDataset
from vqkit.data.exporting import export
from vqkit.data.images import ImageFolderDataset
from vqkit.data.opening import name_data, open_dataset, recognise, resolve_data, size_hint, with_fitted
from vqkit.data.tyre import TyreDataset
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import DataSpec
from vqkit.registry import DATASETS
from vqkit.training.kinds import build, resolve


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


def test_what_an_earlier_run_found_out_is_kept_unless_it_is_set(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(4 * 64).reshape(4, 8, 8).astype(np.uint16))
    first = resolve_data(str(tmp_path / "a.npy"))
    recorded = NamedOptions(**{**first.model_dump(), **open_dataset(first).fitted_settings})
    assert recorded.options["range"] == {"grey": [64, 255]}
    assert with_fitted(first, recorded) == recorded
    chosen = resolve_data(NamedOptions(name=str(tmp_path / "a.npy"), range=[0, 500], flip=True))
    kept = with_fitted(chosen, recorded).options
    assert (kept["range"], kept["extremes"], kept["value_kind"], kept["flip"]) == ([0, 500], {"grey": [64, 255]}, "intensity", True)
    assert with_fitted(first, resolve_data("tyre")) == first


def test_what_was_found_out_of_joined_data_is_kept_for_every_part(tmp_path: Path) -> None:
    for name, factor in (("a", 1), ("b", 7)):
        np.save(tmp_path / f"{name}.npy", np.arange(4 * 64).reshape(4, 8, 8).astype(np.uint16) * factor)
    data = resolve_data(f"{tmp_path / 'a.npy'},{tmp_path / 'b.npy'}")
    dataset = open_dataset(data)
    recorded = NamedOptions(**{**data.model_dump(), **dataset.fitted_settings})
    assert with_fitted(data, recorded) == recorded
    assert open_dataset(recorded).spec == dataset.spec
    assert dataset.spec.component_specs[0].maximum == 7 * 255


def test_what_is_neither_a_name_nor_a_path_is_refused() -> None:
    with pytest.raises(DataError, match="'tire' is neither a data set nor a path") as refused:
        open_dataset("tire")
    assert "Did you mean 'tyre'?" in refused.value.hint


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no images in"):
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


@pytest.mark.parametrize("name", sorted(DATASETS.entries()))
def test_what_changes_the_size_of_images_is_named_only_where_it_is_a_setting(name: str) -> None:
    hint = size_hint(NamedOptions(name=name), DataSpec.uniform("set", ("grey",), 30, 34, "intensity"), 4)
    named = re.findall(r"data\.(\w+)", hint)
    assert set(named) <= set(DATASETS.get(name).Options.model_fields)
    assert bool(named) == (name not in ("tyre", "cifar10", "cifar100", "mnist", "fashion-mnist"))
    if name in ("components", "images"):
        assert hint == "data.height=28 data.width=32"
    if name == "arrays":
        assert "data.pad_to_multiple=4" in hint


def test_a_size_that_does_not_fit_is_refused_with_what_changes_it(tmp_path: Path) -> None:
    np.save(tmp_path / "odd.npy", np.zeros((20, 3, 30, 34), np.uint8))
    with pytest.raises(ConfigError, match=r"30 x 34 .* cannot be divided by 4") as refused:
        build(resolve(RunConfig(data=NamedOptions(**name_data(str(tmp_path / "odd.npy"))))), torch.device("cpu"))
    assert "multiples of 4" in refused.value.hint and "data.pad_to_multiple=4" in refused.value.hint
    with pytest.raises(ConfigError, match="cannot be divided by 128") as refused:
        build(resolve(RunConfig(model=NamedOptions(name="vqvae", stride=128))), torch.device("cpu"))
    assert "data." not in refused.value.hint
