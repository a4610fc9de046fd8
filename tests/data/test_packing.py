from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors import safe_open

from painting import augmented
from vqkit.data import packing
from vqkit.data.arrays import ArrayDataset
from vqkit.data.joined import JoinedDataset
from vqkit.data.packing import pack
from vqkit.data.splits import ArraySplit
from vqkit.data.tyre import TyreDataset
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import ComponentSpec, DataSpec, ImageDataset
from vqkit.interfaces.components import DTYPES

SPLITS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")


class Labelled(ImageDataset):
    """Five images a split, with labels and names beyond ASCII."""

    spec = DataSpec.uniform("fünf", ("a", "b", "c"), 3, 5, "intensity", classes=("x", "y"))

    def split(self, name: Literal["train", "val", "test"]) -> ArraySplit:
        images = torch.randint(256, (5, 3, 3, 5), generator=torch.Generator().manual_seed(SPLITS.index(name)), dtype=torch.uint8)
        names = [f"{name} {number} é" for number in range(5)]
        return ArraySplit(self.spec, images, labels=torch.arange(5) % 2, names=names)


class Stored(ImageDataset):
    """Seven images a split of two components of some types, in every bit pattern, of which some are absent."""

    def __init__(self, dtypes: tuple[str, str], absent: Literal["nothing", "components", "pixels", "both"]) -> None:
        low, high = 1.0, 100.0
        components = tuple(ComponentSpec(name, dtype=dtype, low=low, high=high) for name, dtype in zip("ab", dtypes, strict=True))
        self._spec = DataSpec("stored", components, 3, 11)
        self._absent = absent

    @property
    def spec(self) -> DataSpec:
        return self._spec

    def split(self, name: Literal["train", "val", "test"]) -> ArraySplit:
        generator = torch.Generator().manual_seed(SPLITS.index(name))
        dtype = self._spec.stored_dtype
        bits = torch.randint(256, (7, 2, 3, 11 * dtype.itemsize), generator=generator, dtype=torch.uint8)
        shapes = {"components": (7, 2, 1, 1), "pixels": (7, 1, 3, 11), "both": (7, 2, 3, 11)}
        shape = shapes.get(self._absent)
        present = None if shape is None else torch.rand(shape, generator=generator) < 0.5
        return ArraySplit(self._spec, bits.view(dtype), present=present)


def tyres() -> TyreDataset:
    return TyreDataset(TyreDataset.Options(num_train=20, num_val=4, num_test=3))


@pytest.mark.parametrize("dataset", [tyres(), Labelled()])
def test_a_packed_set_opens_with_everything_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: ImageDataset) -> None:
    monkeypatch.setattr(packing, "_BATCH", 3)
    counts = pack(dataset, tmp_path / "set.safetensors")
    opened = ArrayDataset(ArrayDataset.Options(path=str(tmp_path / "set.safetensors")))
    assert opened.spec == dataset.spec
    for name in SPLITS:
        before, after = dataset.split(name), opened.split(name)
        indices = torch.arange(len(before))
        assert counts[name] == len(before) == len(after)
        assert before.names(indices) == after.names(indices)
        for expected, found in zip(before.batch(indices)[:3], after.batch(indices)[:3], strict=True):
            assert torch.equal(expected, found)
        assert after.batch(indices).present is None


def test_the_file_is_plain_safetensors(tmp_path: Path) -> None:
    pack(tyres(), tmp_path / "set.safetensors")
    with safe_open(tmp_path / "set.safetensors", framework="pt") as file:
        assert file.get_tensor("train_images").shape == (20, 5, 64, 32)
        assert file.get_tensor("val_conditions").dtype == torch.float32


def test_settings_fixed_by_the_file_are_refused(tmp_path: Path) -> None:
    pack(tyres(), tmp_path / "set.safetensors")
    with pytest.raises(ConfigError, match=r"data\.layout cannot be changed"):
        ArrayDataset(ArrayDataset.Options(path=str(tmp_path / "set.safetensors"), layout="NHWC"))


def test_training_images_are_mirrored_and_shifted_if_asked_for(tmp_path: Path) -> None:
    pack(Labelled(), tmp_path / "set.safetensors")
    images = torch.rand(64, 3, 3, 5)
    for flip, crop in ((False, 0), (True, 0), (False, 2)):
        opened = ArrayDataset(ArrayDataset.Options(path=str(tmp_path / "set.safetensors"), flip=flip, crop=crop))
        for name in SPLITS:
            varied = augmented(opened.split(name), images)
            assert torch.equal(varied, images) is not ((flip or crop > 0) and name == "train")


def test_an_unknown_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(packing, "FORMAT", "dataset-1")
        pack(tyres(), tmp_path / "set.safetensors")
    with pytest.raises(DataError, match="dataset-1, where dataset-2 is expected"):
        ArrayDataset(ArrayDataset.Options(path=str(tmp_path / "set.safetensors")))


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.safetensors"
    pack(tyres(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match="cannot be read as safetensors"):
        ArrayDataset(ArrayDataset.Options(path=str(path)))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set.safetensors"
    pack(tyres(), path)
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing, "_write_split", full_disk)
    with pytest.raises(OSError, match="No space left"):
        pack(Labelled(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not end in \.safetensors"):
        pack(tyres(), tmp_path / "set.npz")


@pytest.mark.parametrize("absent", ["nothing", "components", "pixels", "both"])
@pytest.mark.parametrize("dtypes", [*((name, name) for name in DTYPES), ("uint8", "uint16"), ("uint16", "float32")])
def test_values_of_every_type_and_what_is_absent_are_kept_in_every_bit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtypes: tuple[str, str],
    absent: Literal["nothing", "components", "pixels", "both"],
) -> None:
    monkeypatch.setattr(packing, "_BATCH", 3)
    dataset = Stored(dtypes, absent)
    pack(dataset, tmp_path / "set.safetensors")
    opened = ArrayDataset(ArrayDataset.Options(path=str(tmp_path / "set.safetensors")))
    assert opened.spec == dataset.spec
    for name in SPLITS:
        indices = torch.tensor([6, 0, 3])
        expected, found = dataset.split(name).batch(indices), opened.split(name).batch(indices)
        assert found.images.dtype == expected.images.dtype
        assert torch.equal(found.images.view(torch.uint8), expected.images.view(torch.uint8))
        assert (found.present is None) == (expected.present is None)
        assert torch.equal(found.observed, expected.observed)


def test_ranges_can_be_changed_and_kinds_cannot(tmp_path: Path) -> None:
    path = str(tmp_path / "set.safetensors")
    pack(Stored(("uint16", "float32"), "nothing"), tmp_path / "set.safetensors")
    changed = ArrayDataset(ArrayDataset.Options(path=path, range={"a": (0.0, 4095.0)}, value_kind="intensity")).spec
    first, second = changed.component_specs
    assert (first.low, first.high, first.maximum) == (0, 4095, 255)
    assert (second.low, second.high) == (1, 100)
    with pytest.raises(ConfigError, match=r"data\.value_kind cannot be changed"):
        ArrayDataset(ArrayDataset.Options(path=path, value_kind={"b": "binary"}))
    with pytest.raises(ConfigError, match=r"data\.nodata cannot be changed"):
        ArrayDataset(ArrayDataset.Options(path=path, nodata=0.0))


def test_images_larger_than_the_tile_are_packed_whole(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(9, 2, 24, 40, generator=generator).numpy()
    images[3, 1, :9] = np.nan
    np.savez(tmp_path / "set.npz", train=images[:5], val=images[5:7, :, :20], test=images[7:])
    dataset = ArrayDataset(ArrayDataset.Options(path=str(tmp_path / "set.npz"), height=16))
    assert pack(dataset, tmp_path / "set.safetensors") == {"train": 5, "val": 2, "test": 2}
    opened = ArrayDataset(ArrayDataset.Options(path=str(tmp_path / "set.safetensors")))
    assert opened.spec == dataset.spec
    for name in SPLITS:
        before, after = dataset.split(name).epoch(3), opened.split(name).epoch(3)
        indices = torch.arange(len(before))
        expected, found = before.batch(indices), after.batch(indices)
        assert before.names(indices) == after.names(indices)
        assert torch.equal(found.images.view(torch.uint8), expected.images.view(torch.uint8))
        assert torch.equal(found.observed, expected.observed)


def test_joined_images_of_several_sizes_are_packed_as_tiles(tmp_path: Path) -> None:
    images = torch.rand(8, 1, 24, 40, generator=torch.Generator().manual_seed(0)).numpy()
    np.savez(tmp_path / "a.npz", train=images, val=images, test=images)
    np.savez(tmp_path / "b.npz", **dict.fromkeys(SPLITS, images[:, :, :20, :30]))
    options = JoinedDataset.Options(paths=(str(tmp_path / "a.npz"), str(tmp_path / "b.npz")), settings={"height": 16})
    assert pack(JoinedDataset(options), tmp_path / "set.safetensors")["train"] == 8 * 2 * 3 + 8 * 2 * 2
    train = ArrayDataset(ArrayDataset.Options(path=str(tmp_path / "set.safetensors"))).split("train")
    found = (
        train.batch(torch.tensor([5, 48])).images[:, 0].numpy()
    )  # the last tile of the first image, and the first of the second part
    assert np.array_equal(found[0], images[0, 0, 8:, 24:]) and np.array_equal(found[1], images[0, 0, :16, :16])
