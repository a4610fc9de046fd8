from __future__ import annotations

import importlib
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from painting import augmented
from processes import start
from vqkit.core import torchvision_import
from vqkit.core.torchvision_import import import_torchvision
from vqkit.data import torchvision_sets
from vqkit.data.torchvision_sets import CIFAR10, MNIST, CelebA
from vqkit.errors import DataError


def import_late(_: int) -> None:
    assert "torchvision" not in sys.modules, "the data sets import torchvision before it is needed"
    try:
        importlib.import_module("torchvision")
        works_alone = True
    except RuntimeError:
        works_alone = False
    declared = []
    declare = torchvision_import._declare_missing_operators
    torchvision_import._declare_missing_operators = lambda: declared.append(declare())
    torchvision = import_torchvision()
    assert import_torchvision() is torchvision
    assert bool(declared) is not works_alone, (declared, works_alone)
    from torchvision import datasets, transforms, utils

    assert datasets.CIFAR10 and transforms.Resize and utils.make_grid


def test_torchvision_is_imported_late_and_whatever_build_it_is() -> None:
    start(import_late)


def write_mnist(root: Path) -> None:
    """The four files of MNIST in their own format: 6 training and 4 test digits."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 6), ("t10k", 4)):
        images = np.arange(count * 784).astype(np.uint8)
        header = b"".join(int(number).to_bytes(4, "big") for number in (2051, count, 28, 28))
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = b"".join(int(number).to_bytes(4, "big") for number in (2049, count)) + bytes(range(count))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(labels)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def test_files_that_are_there_are_read(tmp_path: Path, no_network: None) -> None:
    write_mnist(tmp_path)
    dataset = MNIST(MNIST.Options(root=str(tmp_path), validation_share=0.4))
    assert (dataset.spec.name, dataset.spec.components, dataset.spec.height) == ("MNIST", ("grey",), 28)
    assert len(dataset.spec.classes) == 10
    batch = dataset.split("test").batch(torch.tensor([3, 1]))
    expected = np.arange(4 * 784).astype(np.uint8).reshape(4, 1, 28, 28)
    assert np.array_equal(batch.images.numpy(), expected[[3, 1]])
    assert batch.labels.tolist() == [3, 1]
    train, validation = dataset.split("train"), dataset.split("val")
    assert sorted([*train.names(torch.arange(4)), *validation.names(torch.arange(2))]) == [f"train_{n:05d}" for n in range(6)]
    images = torch.rand(32, 1, 28, 28)
    assert augmented(train, images) is images


def test_without_a_network_one_sentence_says_so_and_nothing_is_left(tmp_path: Path, no_network: None) -> None:
    with pytest.raises(
        DataError, match=r"CIFAR-10 is not in .*data/ and cannot be downloaded: Name or service not known\."
    ) as refused:
        CIFAR10(CIFAR10.Options(root=str(tmp_path / "data")))
    assert "network" in refused.value.hint
    assert list(tmp_path.iterdir()) == []


class Downloaded:
    """Stands in for a torchvision class: its files are one file `set/images`, which a download writes in two halves."""

    interrupted = False
    classes = ("a", "b")

    def __init__(self, root: str | Path, train: bool, download: bool = False) -> None:
        file = Path(root) / "set" / "images"
        if download:
            file.parent.mkdir()
            file.write_bytes(bytes(range(48)))
            if self.interrupted:
                raise URLError("connection reset")
            file.write_bytes(bytes(range(96)))
        if not file.exists():
            raise RuntimeError("Dataset not found")
        self.data = np.fromfile(file, dtype=np.uint8).reshape(2, 4, 4, 3)
        self.targets = [0, 1]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> type[Downloaded]:
    module = type("torchvision", (), {"datasets": type("datasets", (), {"CIFAR10": Downloaded})})
    monkeypatch.setattr(torchvision_sets, "import_torchvision", lambda: module)
    return Downloaded


def test_an_interrupted_download_does_not_spoil_the_next(
    tmp_path: Path, stand_in: type[Downloaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stand_in, "interrupted", True)
    with pytest.raises(DataError, match="connection reset"):
        CIFAR10(CIFAR10.Options(root=str(tmp_path)))
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(stand_in, "interrupted", False)
    dataset = CIFAR10(CIFAR10.Options(root=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    images = dataset.split("test").batch(torch.arange(2)).images
    assert torch.equal(images, torch.arange(96, dtype=torch.uint8).view(2, 4, 4, 3).permute(0, 3, 1, 2))
    assert dataset.spec.classes == ("a", "b")


def test_only_training_images_are_shifted(tmp_path: Path, stand_in: type[Downloaded]) -> None:
    dataset = CIFAR10(CIFAR10.Options(root=str(tmp_path), flip=False, crop=1))
    images = torch.rand(32, 3, 4, 4)
    for name in ("train", "val", "test"):
        varied = augmented(dataset.split(name), images)  # type: ignore[arg-type]
        assert torch.equal(varied, images) is (name != "train")


def test_damaged_files_are_downloaded_again(tmp_path: Path, stand_in: type[Downloaded]) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "images").write_bytes(b"cut off")
    assert len(CIFAR10(CIFAR10.Options(root=str(tmp_path))).split("test")) == 2


def test_celeba_is_streamed_from_its_own_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (178, 218), (number, 0, 0)).save(folder / f"{number}.png")

    class Faces:
        def __init__(self, root: Path, split: str) -> None:
            self.filename = {"train": ["0.png"], "valid": ["1.png"], "test": ["2.png"]}[split]

    module = type("torchvision", (), {"datasets": type("datasets", (), {"CelebA": Faces})})
    monkeypatch.setattr(torchvision_sets, "import_torchvision", lambda: module)
    dataset = CelebA(CelebA.Options(root=str(tmp_path), size=128, flip=False, crop=16))
    pictures = torch.rand(4, 3, 128, 128)
    for number, name in enumerate(("train", "val", "test")):
        split = dataset.split(name)  # type: ignore[arg-type]
        images = split.batch(torch.tensor([0])).images
        assert images.shape == (1, 3, 128, 128)
        assert images[0, :, 8, 8].tolist() == [number, 0, 0]
        assert torch.equal(augmented(split, pictures), pictures) is (name != "train")
        assert split.names(torch.tensor([0])) == [str(number)]


def test_torchvision_itself_can_be_used_here() -> None:
    assert import_torchvision().datasets.MNIST.__name__ == "MNIST"
