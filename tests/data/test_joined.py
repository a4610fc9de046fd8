from __future__ import annotations

from pathlib import Path

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
