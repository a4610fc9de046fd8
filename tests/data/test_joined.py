from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import augmented
from vqkit.config import NamedOptions
from vqkit.data.opening import open_dataset, resolve_data
from vqkit.errors import DataError
from vqkit.interfaces import ImageDataset


def folder(root: Path, first: int, counts: dict[str, int], side: int = 4) -> Path:
    """Pictures whose colour is a number, counted from `first`."""
    number = first
    for part, count in counts.items():
        (root / part).mkdir(parents=True)
        for _ in range(count):
            Image.new("RGB", (side, side), (number, 0, 0)).save(root / part / f"{number:03d}.png")
            number += 1
    return root


@pytest.fixture
def both(tmp_path: Path) -> ImageDataset:
    cats = folder(tmp_path / "cats", 0, {"train": 3, "val": 1, "test": 2})
    dogs = folder(tmp_path / "dogs", 100, {"train": 4, "val": 2, "test": 1})
    return open_dataset(f"{cats}, {dogs}")


def shades(dataset: ImageDataset, split: str, indices: list[int] | None = None) -> list[int]:
    images = dataset.split(split)  # type: ignore[arg-type]
    wanted = torch.arange(len(images)) if indices is None else torch.tensor(indices)
    return images.batch(wanted).images[:, 0, 0, 0].tolist()


def test_splits_follow_each_other(both: ImageDataset) -> None:
    assert [shades(both, name) for name in ("train", "val", "test")] == [[0, 1, 2, 100, 101, 102, 103], [3, 104, 105], [4, 5, 106]]
    assert shades(both, "train", [5, 0, 3, 2, 5]) == [102, 0, 100, 2, 102]
    train = both.split("train")
    assert train.names(torch.tensor([3, 0])) == ["dogs_100", "cats_000"]
    assert both.spec.name == "cats,dogs"
    batch = train.batch(torch.tensor([3, 0]))
    assert batch.conditions.shape == (2, 0) and batch.labels.tolist() == [-1, -1]


def test_training_pictures_are_mirrored_as_those_of_a_folder_are(tmp_path: Path) -> None:
    paths = [folder(tmp_path / name, 0, {"train": 3, "test": 2}) for name in ("a", "b")]
    picture = torch.rand(64, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for flip in (True, False):
        data = NamedOptions(name="joined", paths=[str(path) for path in paths], settings={"flip": flip})
        varied = augmented(open_dataset(data).split("train"), picture, 1)
        assert torch.equal(varied, picture) is not flip


def test_what_is_recorded_can_be_opened_again(both: ImageDataset, tmp_path: Path) -> None:
    resolved = resolve_data(f"{tmp_path}/cats,{tmp_path}/dogs")
    assert resolved.model_dump() == {"name": "joined", "paths": [f"{tmp_path}/cats", f"{tmp_path}/dogs"], "settings": {}}
    assert shades(open_dataset(resolved), "test") == shades(both, "test")


def test_pictures_of_other_sizes_are_refused_or_brought_to_one(tmp_path: Path) -> None:
    paths = [folder(tmp_path / name, 0, {"train": 3, "test": 2}, side) for name, side in (("small", 4), ("large", 8))]
    names = ",".join(map(str, paths))
    with pytest.raises(DataError, match=r"'large' has 3 intensity components .* of 8 x 8 .*and 'small' .*4 x 4"):
        open_dataset(names)
    assert open_dataset(NamedOptions(name=names, settings={"height": 6})).spec.height == 6


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'nowhere' is neither a data set nor a path"):
        open_dataset(f"{folder(tmp_path / 'cats', 0, {'train': 3})},nowhere")


def stored(path: Path, train: np.ndarray, **others: np.ndarray) -> Path:
    """A file of arrays; the same two images are for validation and test."""
    np.savez(path, train=train, val=train[:2], test=train[:2], **others)
    return path


def test_ranges_are_those_of_all_training_pixels(tmp_path: Path) -> None:
    first, second = (
        np.square(np.linspace(low, high, count * 64)).reshape(count, 8, 8).astype(np.uint16)
        for low, high, count in ((0, 30, 6), (20, 63, 9))
    )
    paths = stored(tmp_path / "a.npz", first), stored(tmp_path / "b.npz", second)
    dataset = open_dataset(",".join(map(str, paths)))
    (spec,) = dataset.spec.component_specs
    values = np.concatenate([first.ravel(), second.ravel()])
    assert (spec.dtype, spec.minimum, spec.maximum) == ("uint16", values.min(), values.max())
    assert spec.low == np.floor(np.percentile(values, 0.1))
    assert spec.high == np.ceil(np.percentile(values, 99.9))
    train = dataset.split("train")
    images = train.batch(torch.tensor([14, 0, 6, 5])).images
    assert np.array_equal(images[:, 0].numpy(), np.stack([second[8], first[0], second[0], first[5]]))
    assert train.batch(torch.tensor([0])).present is None


def test_a_range_that_was_set_is_kept(tmp_path: Path) -> None:
    paths = [
        str(stored(tmp_path / f"{name}.npz", np.linspace(0, value, 4 * 64, dtype=np.float32).reshape(4, 8, 8)))
        for name, value in (("a", 3), ("b", 9))
    ]
    dataset = open_dataset(NamedOptions(name="joined", paths=paths, settings={"range": [0, 20]}))
    (spec,) = dataset.spec.component_specs
    assert (spec.low, spec.high, spec.minimum, spec.maximum) == (0, 20, 0, 9)


def test_what_is_absent_in_one_part_is_absent_in_the_whole(tmp_path: Path) -> None:
    full = np.arange(4 * 64, dtype=np.float32).reshape(4, 8, 8)
    gaps = full.copy()
    gaps[1, :3] = np.nan
    train = open_dataset(f"{stored(tmp_path / 'a.npz', full)},{stored(tmp_path / 'b.npz', gaps)}").split("train")
    batch = train.batch(torch.tensor([5, 1]))
    assert batch.present is not None
    assert torch.equal(batch.present[:, 0], torch.from_numpy(np.stack([~np.isnan(gaps[1]), np.ones((8, 8), bool)])))
    assert train.batch(torch.tensor([1])).present is not None  # never said of some batches only


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (np.arange(4 * 64, dtype=np.int16).reshape(4, 8, 8), r"grey has values of type int16 in 'b' and uint16 in 'a'"),
        (np.arange(4 * 96, dtype=np.uint16).reshape(4, 8, 12), r"'b' has .* of 8 x 12 .*'a' has"),
    ],
)
def test_parts_whose_values_differ_are_refused(tmp_path: Path, other: np.ndarray, message: str) -> None:
    first = np.arange(4 * 64, dtype=np.uint16).reshape(4, 8, 8)
    with pytest.raises(DataError, match=message):
        open_dataset(f"{stored(tmp_path / 'a.npz', first)},{stored(tmp_path / 'b.npz', other)}")


def test_shapes_of_other_values_are_refused(tmp_path: Path) -> None:
    shapes = (np.arange(4 * 64).reshape(4, 8, 8) % 3 == 0).astype(np.uint8)
    with pytest.raises(DataError, match=r"grey holds 0 and 255 in 'b', and 0 and 1 in 'a'"):
        open_dataset(f"{stored(tmp_path / 'a.npz', shapes)},{stored(tmp_path / 'b.npz', shapes * 255)}")
