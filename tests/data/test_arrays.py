from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from vqkit.data.arrays import ArrayDataset
from vqkit.errors import ConfigError, DataError


def noise(*shape: int) -> np.ndarray:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()


def build(path: Path, **settings: object) -> ArrayDataset:
    return ArrayDataset(ArrayDataset.Options(path=str(path), **settings))


def test_mnist_archive(tmp_path: Path) -> None:
    images, labels = noise(30, 28, 28), (np.arange(30) % 10).astype(np.uint8)
    arrays = {"train_images": images[:20], "train_labels": labels[:20], "test_images": images[20:], "test_labels": labels[20:]}
    np.savez(tmp_path / "mnist.npz", **arrays)
    dataset = build(tmp_path / "mnist.npz")
    batch = dataset.split("test").batch(torch.tensor([4, 0]))
    assert torch.equal(batch.images[:, 0], torch.from_numpy(images[[24, 20]]))
    assert batch.labels.tolist() == [4, 0]
    spec = dataset.spec
    assert (spec.name, spec.components, spec.height, spec.width) == ("mnist", ("grey",), 28, 28)
    assert (spec.value_kind, spec.classes) == ("intensity", tuple("0123456789"))
    assert (len(dataset.split("train")), len(dataset.split("val"))) == (19, 1)


@pytest.mark.parametrize("names", [("train", "val"), ("x_train", "x_val"), ("train_images", "val_images")])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_every_way_to_name_the_splits(tmp_path: Path, names: tuple[str, str], suffix: str) -> None:
    path = tmp_path / f"set.{suffix}"
    arrays = {names[0]: noise(6, 3, 8, 9), names[1]: noise(2, 3, 8, 9)}
    np.savez(path, **arrays) if suffix == "npz" else save_file(arrays, path)
    dataset = build(path)
    assert (len(dataset.split("train")), len(dataset.split("val"))) == (6, 2)
    assert torch.equal(dataset.split("train").batch(torch.arange(6)).images, torch.from_numpy(arrays[names[0]]))


@pytest.mark.parametrize("last", [False, True])
def test_channels_come_first_or_last(tmp_path: Path, last: bool) -> None:
    images = noise(10, 3, 8, 9)
    np.save(tmp_path / "set.npy", np.moveaxis(images, 1, -1) if last else images)
    dataset = build(tmp_path / "set.npy", validation_share=0.1)
    both = [dataset.split(name) for name in ("train", "val")]  # type: ignore[arg-type]
    read = {name: image for split in both for name, image in zip(*content(split), strict=True)}
    assert dataset.spec.components == ("r", "g", "b")
    assert torch.equal(torch.stack([read[f"{number:06d}"] for number in range(10)]), torch.from_numpy(images))


def content(split: object) -> tuple[list[str], torch.Tensor]:
    indices = torch.arange(len(split))  # type: ignore[arg-type]
    return split.names(indices), split.batch(indices).images  # type: ignore[attr-defined]


def test_the_layout_must_be_said_where_it_cannot_be_told(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", noise(10, 8, 4, 8))
    with pytest.raises(DataError, match="8 x 4 x 8") as refused:
        build(tmp_path / "set.npy")
    assert "data.layout" in refused.value.hint
    assert build(tmp_path / "set.npy", layout="NHWC").spec.height == 8
    assert build(tmp_path / "set.npy", layout="NCHW").spec.height == 4


def test_floats_are_rounded_and_shapes_are_detected(tmp_path: Path) -> None:
    shapes = np.zeros((10, 2, 8, 8), dtype=np.float32)
    shapes[:, 0, :4] = 1
    shapes[:, 1, 4:] = 1
    np.save(tmp_path / "shapes.npy", shapes)
    spec = build(tmp_path / "shapes.npy", components=("top", "bottom")).spec
    assert (spec.value_kind, spec.exclusive, spec.components) == ("binary", True, ("top", "bottom"))
    shapes[0, 0, 0, 0] = 0.4
    np.save(tmp_path / "soft.npy", shapes)
    assert build(tmp_path / "soft.npy").spec.value_kind == "mixed"
    cut = build(tmp_path / "soft.npy", value_kind="binary")
    assert cut.spec.value_kind == "binary"
    assert set(torch.cat([content(cut.split(name))[1] for name in ("train", "val")]).unique().tolist()) == {0, 255}  # type: ignore[arg-type]


def test_nan_is_refused_with_its_array_and_count(tmp_path: Path) -> None:
    images = np.zeros((10, 8, 8), dtype=np.float32)
    images[3, 2, 1] = images[4, 0, 0] = np.nan
    np.savez(tmp_path / "set.npz", train=images, val=np.zeros((2, 8, 8), dtype=np.float32))
    with pytest.raises(DataError, match=r"The array 'train' of .*set\.npz holds 2 NaN"):
        build(tmp_path / "set.npz")


def test_conditions_are_read_and_named(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float64).reshape(10, 2)
    np.savez(tmp_path / "set.npz", train_images=noise(10, 8, 8), train_conditions=values, val_images=noise(2, 8, 8))
    dataset = build(tmp_path / "set.npz", conditions=("width", "height"))
    assert dataset.spec.condition_names == ("width", "height")
    assert dataset.split("train").batch(torch.tensor([9])).conditions.tolist() == [[18, 19]]
    assert build(tmp_path / "set.npz").spec.condition_names == ("condition_1", "condition_2")
    with pytest.raises(ConfigError, match="names 1 columns"):
        build(tmp_path / "set.npz", conditions=("width",)).spec  # noqa: B018


def test_padding_to_a_multiple_keeps_images_in_the_middle(tmp_path: Path) -> None:
    images = noise(4, 28, 27)
    np.savez(tmp_path / "set.npz", train=images, val=images, test=images)
    dataset = build(tmp_path / "set.npz", pad_to_multiple=16)
    padded = dataset.split("test").batch(torch.arange(4)).images
    assert (dataset.spec.height, dataset.spec.width) == (32, 32)
    assert torch.equal(padded[:, 0, 2:30, 2:29], torch.from_numpy(images))
    assert int(padded.sum()) == int(images.sum(dtype=np.int64))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": noise(4, 8, 8), "b": noise(4, 8, 8)}, "its arrays are a, b"),
        ({"train": noise(4, 8)}, r"has the shape \(4, 8\), which is not a shape of images"),
        ({"train": noise(0, 8, 8)}, r"has the shape \(0, 8, 8\)"),
        ({"train": noise(4, 8, 8), "train_labels": np.arange(3)}, r"'train_labels' of .* has the shape \(3,\)"),
        ({"train": noise(4, 8, 8), "train_labels": np.array([0, 1, 2, 10**9])}, "run from 0 to 1e"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=message):
        build(tmp_path / "set.npz")


def test_channel_names_must_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", noise(10, 3, 8, 9))
    with pytest.raises(ConfigError, match="names 2 channels"):
        build(tmp_path / "set.npy", components=("a", "b")).spec  # noqa: B018


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.safetensors"])
def test_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=f"{name} cannot be read as"):
        build(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_nothing_is_unpickled(tmp_path: Path, name: str) -> None:
    array = np.array([{}], dtype=object)
    np.save(tmp_path / name, array, allow_pickle=True) if name == "a.npy" else np.savez(tmp_path / name, train=array)
    with pytest.raises(DataError, match="cannot be read") as refused:
        build(tmp_path / name)
    assert "unpickled" in refused.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.npy is not a file"):
        build(tmp_path / "nowhere.npy")
