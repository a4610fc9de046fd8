from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from vqkit.data.arrays import ArrayDataset
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import DataSpec


def noise(*shape: int) -> np.ndarray:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()


def normal(*shape: int) -> np.ndarray:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()


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


@pytest.mark.parametrize(
    "names",
    [("train_images", "valid_images", "test_images"), ("Training", "Validation", "Testing"), ("X_train", "X_valid", "X_test")],
)
def test_splits_have_the_names_that_folders_have_in_any_case(tmp_path: Path, names: tuple[str, str, str]) -> None:
    arrays = {name: noise(count, 8, 9) for name, count in zip(names, (6, 3, 2), strict=True)}
    labels = names[1].replace("X", "Y") if "X" in names[1] else f"{names[1].removesuffix('_images')}_labels"
    np.savez(tmp_path / "set.npz", **arrays, **{labels: np.arange(3)})
    dataset = build(tmp_path / "set.npz")
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [6, 3, 2]  # type: ignore[arg-type]
    assert dataset.split("val").batch(torch.arange(3)).labels.tolist() == [0, 1, 2]
    assert dataset.notes == []


def test_arrays_that_are_not_used_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    np.savez(path, train_images=noise(6, 8, 9), dev_images=noise(2, 8, 9), test_labels=np.arange(2), valid=noise(2, 8, 9))
    dataset = build(path)
    assert dataset.notes == [f"Not used: 2 arrays of {path} under no known name (dev_images, test_labels)."]
    assert len(dataset.split("val")) == 2


@pytest.mark.parametrize("file", ["set.npz", "x_test.npy"])
def test_a_single_array_of_test_images_is_not_trained_on(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    np.savez(path, test_images=noise(6, 8, 9)) if path.suffix == ".npz" else np.save(path, noise(6, 8, 9))
    dataset = build(path)
    assert len(dataset.split("test")) == 6
    with pytest.raises(DataError, match="has no images for train") as refused:
        dataset.split("train")
    assert refused.value.hint.startswith("All of them are for test, by their names")


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


def whole(split: object) -> torch.Tensor:
    return content(split)[1]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "uint64", "float32"])
def test_zeros_and_ones_of_any_type_are_shapes(tmp_path: Path, dtype: str) -> None:
    shapes = np.zeros((10, 2, 8, 8), dtype=dtype)
    shapes[:, 0, :4] = 1
    shapes[:, 1, 4:] = 1
    np.save(tmp_path / "shapes.npy", shapes)
    dataset = build(tmp_path / "shapes.npy", components=("top", "bottom"))
    spec = dataset.spec
    assert (spec.value_kind, spec.exclusive, spec.components) == ("binary", True, ("top", "bottom"))
    assert [(each.low, each.high, each.minimum, each.maximum) for each in spec.component_specs] == [(0, 1, 0, 1)] * 2
    images = whole(dataset.split("train"))
    assert spec.stored_dtype == images.dtype == (torch.uint8 if dtype.endswith("64") else getattr(torch, dtype))
    assert torch.equal(spec.to_unit(images), torch.from_numpy(shapes[:9].astype(np.float32)))


def test_bool_is_a_shape_of_0_and_255(tmp_path: Path) -> None:
    np.save(tmp_path / "shapes.npy", noise(10, 8, 8) > 99)
    dataset = build(tmp_path / "shapes.npy")
    assert dataset.spec == DataSpec.uniform("shapes", ("grey",), 8, 8, "binary")
    assert whole(dataset.split("val")).unique().tolist() == [0, 255]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_values_stay_as_they_are(tmp_path: Path, dtype: str, order: str) -> None:
    drawn = normal(20, 2, 6, 5).cumsum(axis=3)
    values = (drawn * 10 + (50 if dtype.startswith("u") else 0)).clip(0 if dtype.startswith("u") else -120, 120).astype(dtype)
    np.savez(tmp_path / "set.npz", train=values.astype(values.dtype.newbyteorder(order)), val=values[:2], test=values[2:4])
    dataset = build(tmp_path / "set.npz")
    images = whole(dataset.split("train"))
    assert images.dtype == getattr(torch, dtype)
    assert np.array_equal(images.numpy(), values)
    for number, spec in enumerate(dataset.spec.component_specs):
        part = values[:, number].astype(np.float64)
        low, high = (0, 255) if dtype == "uint8" else np.percentile(part, [0.1, 99.9])
        expected = (low, high) if dtype.startswith("float") else (np.floor(low), np.ceil(high))
        assert (spec.low, spec.high) == pytest.approx(expected, rel=1e-3)
        if dtype != "uint8":
            assert (spec.minimum, spec.maximum) == (part.min(), part.max())
    assert dataset.split("train").batch(torch.arange(3)).present is None


def test_the_range_comes_from_training_images_alone(tmp_path: Path) -> None:
    train = np.linspace(500, 1000, 10 * 64).reshape(10, 8, 8).astype(np.uint16)
    np.savez(tmp_path / "set.npz", train=train, val=train * 60, test=train * 60)
    (spec,) = build(tmp_path / "set.npz").spec.component_specs
    assert (spec.minimum, spec.maximum) == (500, 1000)
    (chosen,) = build(tmp_path / "set.npz", range=(0.0, 4095.0), transform="log1p", unit="counts").spec.component_specs
    assert (chosen.low, chosen.high, chosen.transform, chosen.unit) == (0, 4095, "log1p", "counts")


@pytest.mark.parametrize("nodata", [None, -9999.0])
def test_nan_and_the_value_nodata_are_absent(tmp_path: Path, nodata: float | None) -> None:
    values = np.linspace(-5, 5, 4 * 64).reshape(4, 1, 8, 8).astype(np.float32)
    gaps = values.copy()
    gaps[1, 0, 2:5] = np.nan if nodata is None else nodata
    gaps[2, 0, 0, 0] = np.nan
    np.savez(tmp_path / "set.npz", train=gaps, val=values, test=values)
    dataset = build(tmp_path / "set.npz", nodata=nodata)
    (spec,) = dataset.spec.component_specs
    assert (spec.minimum, spec.maximum, spec.nodata) == (-5, 5, nodata)
    batch = dataset.split("train").batch(torch.tensor([2, 1, 0]))
    expected = torch.ones(3, 1, 8, 8, dtype=torch.bool)
    expected[1, 0, 2:5] = False
    expected[0, 0, 0, 0] = False
    assert torch.equal(batch.observed, expected)
    unit = batch.to(torch.device("cpu"), dataset.spec).images
    assert bool(unit.isfinite().all()) and not unit[~expected].any()
    assert dataset.split("test").batch(torch.arange(2)).present is None


def test_whole_numbers_can_mean_no_data_in_one_component(tmp_path: Path) -> None:
    values = noise(12, 2, 8, 9).astype(np.int64)
    values[3, :, 4] = 0
    np.save(tmp_path / "set.npy", values)
    dataset = build(tmp_path / "set.npy", components=("a", "b"), nodata={"b": 0})
    batches = [dataset.split(name).batch(torch.arange(len(dataset.split(name)))) for name in ("train", "val")]  # type: ignore[arg-type]
    for batch in batches:
        assert bool(batch.observed[:, 0].all())
        assert torch.equal(batch.observed[:, 1], batch.images[:, 1] != 0)
    assert [each.nodata for each in dataset.spec.component_specs] == [None, 0]
    with pytest.raises(ConfigError, match=r"data\.nodata names 'c'"):
        build(tmp_path / "set.npy", components=("a", "b"), nodata={"c": 0})


@pytest.mark.parametrize("name", ["train_present", "train_mask"])
@pytest.mark.parametrize("shape", [(12, 2), (12, 8, 9), (12, 1, 8, 9), (12, 2, 8, 9), (12, 8, 9, 2), (12, 8, 9, 1)])
def test_masks_say_what_is_present(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    values, mask = noise(12, 2, 8, 9), noise(*shape) < 128
    np.savez(tmp_path / "set.npz", train_images=values, val_images=values, test_images=values, **{name: mask})
    dataset = build(tmp_path / "set.npz")
    by_axes = {
        2: lambda: mask[:, :, None, None],
        3: lambda: mask[:, None],
        4: lambda: np.moveaxis(mask, -1, 1) if shape[1] == 8 else mask,
    }
    expected = np.broadcast_to(by_axes[len(shape)](), values.shape)
    assert np.array_equal(dataset.split("train").batch(torch.arange(12)).observed.numpy(), expected)
    assert dataset.split("val").batch(torch.arange(2)).present is None


def test_a_mask_and_nan_are_both_absent_and_padding_is_present(tmp_path: Path) -> None:
    values = normal(8, 1, 6, 6).astype(np.float32)
    values[5, 0, 0] = np.nan
    mask = np.ones((8, 6, 6), dtype=np.uint8)
    mask[5, :, 0] = 0
    np.savez(tmp_path / "set.npz", train=values, train_present=mask, val=values[:2], test=values[:2])
    split = build(tmp_path / "set.npz", pad_to_multiple=8).split("train")
    expected = np.ones((8, 8), dtype=bool)
    expected[1, 1:7] = False
    expected[1:7, 1] = False
    assert np.array_equal(split.batch(torch.tensor([5])).observed[0, 0].numpy(), expected)


@pytest.mark.parametrize("poison", [0.0, -3e38, np.inf, np.nan])
@pytest.mark.parametrize("tile", [None, 8])
def test_values_of_absent_pixels_change_nothing(tmp_path: Path, poison: float, tile: int | None) -> None:
    values, mask = normal(9, 2, 8, 16).astype(np.float32), noise(9, 8, 16) < 128
    poisoned = np.where(mask[:, None], values, np.float32(poison))
    seen = []
    for name, images in (("a", values), ("b", poisoned)):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "set.npz", train=images, train_present=mask, val=values, test=values)
        dataset = build(tmp_path / name / "set.npz", height=tile)
        split = dataset.split("train")
        seen.append((dataset.spec, split.batch(torch.arange(len(split))).to(torch.device("cpu"), dataset.spec)))
    (spec, batch), (other_spec, other) = seen
    assert spec == other_spec
    assert torch.equal(batch.images, other.images) and torch.equal(batch.observed, other.observed)
    assert not bool(batch.observed.all())


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (noise(12, 8, 9), "'train_mask' of .* is no mask: it holds values of type uint8"),
        (np.ones((12, 9, 8), dtype=bool), r"'train_mask' of .* has the shape \(12, 9, 8\), which does not fit"),
        (np.ones((11, 8, 9), dtype=bool), "does not fit"),
    ],
)
def test_masks_that_do_not_fit_are_named(tmp_path: Path, mask: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "set.npz", train_images=noise(12, 2, 8, 9), train_mask=mask)
    with pytest.raises(DataError, match=message):
        build(tmp_path / "set.npz")


def test_a_component_that_is_nowhere_is_named(tmp_path: Path) -> None:
    values = normal(8, 2, 6, 7).astype(np.float32)
    values[:, 1] = np.nan
    np.save(tmp_path / "set.npy", values)
    with pytest.raises(DataError, match="The component b is absent from every training image"):
        build(tmp_path / "set.npy", components=("a", "b")).spec  # noqa: B018


def test_infinite_values_are_refused(tmp_path: Path) -> None:
    values = np.zeros((8, 6, 6), dtype=np.float32)
    values[3, 2, 1] = -np.inf
    np.save(tmp_path / "set.npy", values)
    with pytest.raises(DataError, match=r"holds infinite values, such as -inf"):
        build(tmp_path / "set.npy")


def test_shapes_are_cut_at_half_of_the_range(tmp_path: Path) -> None:
    values = np.linspace(0, 4000, 10 * 64).reshape(10, 8, 8).astype(np.uint16)
    np.save(tmp_path / "soft.npy", values)
    assert build(tmp_path / "soft.npy").spec.value_kind == "intensity"
    dataset = build(tmp_path / "soft.npy", value_kind="binary", range=(0.0, 2000.0))
    assert dataset.spec.value_kind == "binary"
    read = {name: image for part in ("train", "val") for name, image in zip(*content(dataset.split(part)), strict=True)}  # type: ignore[arg-type]
    images = np.stack([read[f"{number:06d}"][0].numpy() for number in range(10)])
    assert np.array_equal(images, np.where(values >= 1000, 2000, 0))


def test_splits_of_other_sizes_or_channels_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", train=noise(4, 8, 8), test=noise(4, 8, 9))
    with pytest.raises(DataError, match=r"different sizes \(height x width\): train 8 x 8, test 8 x 9"):
        build(tmp_path / "set.npz")
    np.savez(tmp_path / "set.npz", train=noise(4, 2, 8, 8), test=noise(4, 3, 8, 8))
    with pytest.raises(DataError, match=r"'test' of .* have 3 channels, and those of 'train' 2"):
        build(tmp_path / "set.npz")


def numbered(count: int, height: int, width: int) -> np.ndarray:
    """Images of two components in which every pixel has a number of its own: float32 [N, 2, H, W], with some NaN."""
    values = np.arange(count * 2 * height * width, dtype=np.float32).reshape(count, 2, height, width)
    values[:, 1, :5, :5] = np.nan
    return values


def test_larger_images_are_cut_into_tiles(tmp_path: Path) -> None:
    train, test = numbered(6, 40, 50), numbered(2, 24, 20)
    np.savez(tmp_path / "set.npz", train=train, val=train[:1], test=test, train_labels=np.arange(6))
    dataset = build(tmp_path / "set.npz", height=16)
    assert (dataset.spec.height, dataset.spec.width) == (16, 16)
    first, _ = dataset.spec.component_specs
    assert (first.minimum, first.maximum) == (0, train[-1, 0].max())

    fixed = dataset.split("test")
    places = [(top, left) for top in (0, 8) for left in (0, 4)]
    batch = fixed.batch(torch.arange(len(fixed)))
    expected = np.stack([image[:, top : top + 16, left : left + 16] for image in test for top, left in places])
    assert np.array_equal(batch.images.numpy(), expected, equal_nan=True)
    assert np.array_equal(batch.observed.numpy(), ~np.isnan(expected))

    moving = dataset.split("train")
    seen = [moving.epoch(number).batch(torch.arange(len(moving))) for number in range(2)]
    assert not torch.equal(seen[0].images.nan_to_num(), seen[1].images.nan_to_num())
    for images, labels in ((each.images[:, 0].numpy().astype(np.int64), each.labels.tolist()) for each in seen):
        owners, inside = np.divmod(images[:, 0, 0], 2 * 40 * 50)
        tops, lefts = np.divmod(inside, 50)
        assert labels == owners.tolist()
        for tile, owner, top, left in zip(images, owners, tops, lefts, strict=True):
            assert np.array_equal(tile, train[owner, 0, top : top + 16, left : left + 16])


def test_large_measurements_are_cut_unasked(tmp_path: Path) -> None:
    np.save(tmp_path / "deep.npy", noise(4, 300, 280).astype(np.uint16) * 3)
    with pytest.warns(UserWarning, match=r"are 300 x 280; the model sees tiles of 64 x 64"):
        dataset = build(tmp_path / "deep.npy")
    assert (dataset.spec.height, dataset.spec.width) == (64, 64)
    np.save(tmp_path / "photos.npy", noise(4, 300, 280))
    assert build(tmp_path / "photos.npy").spec.height == 300


def test_images_smaller_than_the_tile_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", train=noise(4, 32, 32), test=noise(4, 24, 32))
    with pytest.raises(DataError, match=r"for test of .* are 24 x 32 .*, smaller than the tile, 28 x 30") as refused:
        build(tmp_path / "set.npz", height=28, width=30)
    assert "data.height to at most 24" in refused.value.hint


def test_tiles_are_shapes_where_that_is_asked_for(tmp_path: Path) -> None:
    values = numbered(4, 24, 24)[:, :1]
    np.save(tmp_path / "set.npy", values)
    train = build(tmp_path / "set.npy", height=16, value_kind="binary", range=(0.0, 4000.0)).split("train")
    assert whole(train).unique().tolist() == [0, 4000]
    with pytest.raises(ConfigError, match="draws whole images"):
        build(tmp_path / "set.npy", height=16, value_kind="sampled").split("train")


def test_images_stay_on_the_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", np.zeros((10, 8, 9, 3), dtype=np.uint16))
    images = build(tmp_path / "set.npy")._contents["train"].images
    written = np.load(tmp_path / "set.npy", mmap_mode="r+")
    written[7, 2, 3, 1] = 999
    written.flush()
    assert int(images[7, 1, 2, 3].to(torch.int64)) == 999


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


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    images = torch.randn(6, 1, 4, 5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    save_tensors({"train": images, "val": images.clone()}, tmp_path / "set.safetensors")
    read = whole(build(tmp_path / "set.safetensors").split("train"))
    assert read.dtype == torch.float32 and torch.equal(read, images.to(torch.float32))
