from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from painting import augmented
from vqkit.data.images import ImageFolderDataset
from vqkit.data.splits import ArraySplit
from vqkit.data.tiled import TiledSplit
from vqkit.errors import ConfigError, DataError
from vqkit.interfaces import Split


def save(path: Path, value: int, mode: str = "RGB", size: tuple[int, int] = (8, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).convert(mode).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes, 10 training and 4 test pictures of one size."""
    root = tmp_path / "pets"
    for number in range(5):
        save(root / "train" / "cat" / f"{number}.png", number)
        save(root / "train" / "dog" / f"{number}.jpg", 100 + number)
    for number in range(2):
        save(root / "test" / "cat" / f"{number}.png", 10 + number)
        save(root / "test" / "dog" / f"{number}.png", 110 + number)
    return root


def build(root: Path, **settings: object) -> ImageFolderDataset:
    return ImageFolderDataset(ImageFolderDataset.Options(path=str(root), **settings))


def values(split: Split) -> list[int]:
    return split.batch(torch.arange(len(split))).images[:, 0, 0, 0].tolist()


def test_splits_and_classes_come_from_the_folders(root: Path) -> None:
    dataset = build(root, validation_share=0.2)
    test = dataset.split("test")
    assert dataset.spec.components == ("r", "g", "b")
    assert (dataset.spec.name, dataset.spec.height, dataset.spec.width) == ("pets", 4, 8)
    assert (dataset.spec.value_kind, dataset.spec.classes) == ("intensity", ("cat", "dog"))
    assert test.names(torch.arange(4)) == ["cat/0", "cat/1", "dog/0", "dog/1"]
    assert test.batch(torch.tensor([3, 0])).labels.tolist() == [1, 0]
    assert values(test) == [10, 11, 110, 111]
    assert (len(dataset.split("train")), len(dataset.split("val"))) == (8, 2)
    assert sorted(values(dataset.split("train")) + values(dataset.split("val"))) == [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]


def test_a_plain_folder_is_one_set_without_classes(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / f"{number}.png", number, mode="L")
    save(tmp_path / "more" / "10.png", 10, mode="L")
    dataset = build(tmp_path)
    assert (dataset.spec.components, dataset.spec.classes) == (("grey",), ())
    assert dataset.split("train").batch(torch.arange(3)).labels.tolist() == [-1] * 3
    with pytest.warns(UserWarning, match="has no test images"):
        assert values(dataset.split("test")) == values(dataset.split("val"))


def test_streamed_pictures_equal_those_in_memory(root: Path) -> None:
    memory, streamed = (build(root, memory_mb=megabytes).split("train") for megabytes in (1, 0))
    assert isinstance(memory, ArraySplit)
    assert isinstance(streamed, TiledSplit)
    assert (memory.in_memory, streamed.in_memory) == (True, False)
    indices = torch.tensor([3, 0, 7])
    for held, read in zip(memory.batch(indices)[:3], streamed.batch(indices)[:3], strict=True):
        assert torch.equal(held, read)
    assert memory.names(indices) == streamed.names(indices)


def test_only_training_pictures_are_mirrored_and_only_if_wanted(root: Path) -> None:
    images = torch.rand(64, 3, 4, 8)

    def changes(split: Split) -> bool:
        return not torch.equal(augmented(split, images), images)

    for megabytes in (0, 1):
        assert changes(build(root, memory_mb=megabytes).split("train"))
        assert not changes(build(root, memory_mb=megabytes).split("test"))
        assert not changes(build(root, memory_mb=megabytes, flip=False).split("train"))
        assert changes(build(root, memory_mb=megabytes, flip=False, crop=3).split("train"))
        assert not changes(build(root, memory_mb=megabytes, flip=False, crop=3).split("test"))
        with pytest.raises(ConfigError, match=r"data\.crop = 99"):
            build(root, memory_mb=megabytes, crop=99).split("train")


def test_pictures_of_many_sizes_become_64_square_with_a_note(root: Path) -> None:
    save(root / "train" / "cat" / "large.png", 7, size=(90, 70))
    with pytest.warns(UserWarning, match="2 different sizes; all are scaled and centre-cropped to 64 x 64"):
        spec = build(root).spec
    assert (spec.height, spec.width) == (64, 64)


@pytest.mark.parametrize(
    ("settings", "size"), [({"height": 16}, (16, 16)), ({"width": 12}, (12, 12)), ({"height": 6, "width": 5}, (6, 5))]
)
def test_the_size_may_be_chosen(root: Path, settings: dict[str, int], size: tuple[int, int]) -> None:
    save(root / "train" / "cat" / "large.png", 7, size=(90, 70))
    dataset = build(root, **settings)
    assert (dataset.spec.height, dataset.spec.width) == size
    assert dataset.split("train").batch(torch.tensor([0])).images.shape == (1, 3, *size)


def test_grey_pictures_among_colour_ones_become_colour(root: Path) -> None:
    save(root / "test" / "cat" / "grey.png", 33, mode="L")
    split = build(root).split("test")
    assert split.batch(torch.tensor([2])).images[0, :, 0, 0].tolist() == [33, 33, 33]


def test_channels_may_be_named(tmp_path: Path) -> None:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((4, 8, 8), number * 10, dtype=np.uint8))
    assert build(tmp_path).spec.components == ("channel_1", "channel_2", "channel_3", "channel_4")
    assert build(tmp_path, components=("dna", "actin", "tubulin", "golgi")).spec.components[3] == "golgi"
    with pytest.raises(ConfigError, match=r"names 2 channels; the files in .* have 4"):
        build(tmp_path, components=("dna", "actin"))


def test_different_numbers_of_channels_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 8, 8), dtype=np.uint8))
    save(tmp_path / "b.png", 3, size=(8, 8))
    with pytest.raises(DataError, match=r"different numbers of channels: 3 \(.*b.png\), 4 \(.*a.npy\)"):
        build(tmp_path)


def cut(path: Path) -> None:
    """Keep the header and half of the rest."""
    noise = torch.randint(256, (4, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(noise.numpy()).save(path)
    path.write_bytes(path.read_bytes()[:-60])


def test_broken_pictures_are_left_out_with_one_count(root: Path) -> None:
    cut(root / "test" / "cat" / "cut.png")
    (root / "test" / "dog" / "empty.png").touch()
    (root / "test" / "dog" / "text.png").write_text("no picture")
    with pytest.warns(UserWarning) as noted:
        dataset = build(root)
        split = dataset.split("test")
    messages = [str(warning.message) for warning in noted]
    assert [message.partition(" in ")[0] for message in messages] == ["2 of 17 files", "1 of 5 images"]
    assert "empty.png cannot be read" in messages[0]
    assert "cut.png cannot be read" in messages[1]
    assert split.names(torch.arange(len(split))) == ["cat/0", "cat/1", "dog/0", "dog/1"]
    assert split.batch(torch.arange(4)).labels.tolist() == [0, 0, 1, 1]
    assert values(split) == [10, 11, 110, 111]


def test_a_broken_picture_in_a_stream_is_replaced(root: Path) -> None:
    cut(root / "test" / "cat" / "1.png")
    split = build(root, memory_mb=0).split("test")
    with pytest.warns(UserWarning, match=r"1\.png cannot be read.*It is replaced by another one"):
        batch = split.batch(torch.tensor([0, 1]))
    assert batch.images[:, 0, 0, 0].tolist() == [10, 110]
    assert batch.labels.tolist() == [0, 1]


def test_nothing_but_broken_pictures_is_an_error(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_text("no picture")
    with pytest.raises(DataError, match="None of the 3 files") as refused:
        build(tmp_path)
    assert "0.png" in refused.value.message


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no images in"):
        build(tmp_path)
    with pytest.raises(DataError, match="is not a directory"):
        build(tmp_path / "nowhere")


def test_good_pictures_raise_no_warning(root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build(root).split("train")


def test_two_pictures_of_one_name_keep_their_suffix(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "b.png"):
        save(tmp_path / "test" / name, 1)
    assert build(tmp_path).split("test").names(torch.arange(3)) == ["a_bmp", "a_png", "b"]
