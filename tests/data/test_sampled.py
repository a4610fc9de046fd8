"""Binary images drawn from grey ones: with the right probability, anew in training, always the same outside of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.data.arrays import ArrayDataset
from vqkit.data.loading import TrainingLoader
from vqkit.data.subsets import choose_split, shuffled_indices
from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec, Split

GREYS = (0, 51, 204, 255)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """40 training and 20 test images of 8 x 8 pixels whose rows have the greys, two rows each; the labels are sorted."""
    image = np.repeat(np.array(GREYS, dtype=np.uint8), 16).reshape(8, 8)
    labels = {f"{split}_labels": np.repeat(np.arange(4), count // 4) for split, count in (("train", 40), ("test", 20))}
    np.savez(tmp_path / "greys.npz", train_images=np.stack([image] * 40), test_images=np.stack([image] * 20), **labels)
    return tmp_path / "greys.npz"


def dataset(path: Path, **settings: object) -> ArrayDataset:
    return ArrayDataset(ArrayDataset.Options(path=str(path), **{"value_kind": "sampled", **settings}))


def whole(split: Split) -> Tensor:
    return split.batch(torch.arange(len(split))).images


def test_pixels_are_set_with_the_probability_of_their_grey(path: Path) -> None:
    train = dataset(path).split("train")
    drawn = torch.cat([whole(train.epoch(number)) for number in range(20)])
    assert drawn.dtype == torch.uint8 and drawn.unique().tolist() == [0, 255]
    shares = (drawn == 255).float().view(-1, 4, 16).mean(dim=(0, 2))
    assert (shares[0], shares[3]) == (0, 1)
    assert shares[1:3].tolist() == pytest.approx([0.2, 0.8], abs=0.016)  # four deviations of 38 x 16 x 20 draws


def test_every_epoch_draws_anew_and_the_same_when_it_is_run_again(path: Path) -> None:
    first, second = whole(dataset(path).split("train").epoch(0)), whole(dataset(path).split("train").epoch(1))
    assert not torch.equal(first, second)
    assert torch.equal(first, whole(dataset(path).split("train").epoch(0)))
    loader = TrainingLoader(dataset(path).split("train"), batch_size=38, seed=0, workers=0)
    (batch,) = loader.epoch(1)
    trained, once, before = (images.float().sum(dim=0) for images in (batch.images, second, first))
    assert torch.equal(trained, once) and not torch.equal(trained, before)  # in another order


def test_outside_of_training_the_draw_is_fixed_and_binary(path: Path) -> None:
    data = dataset(path)
    assert data.spec.value_kind == "binary"
    drawn = {name: whole(data.split(name)) for name in ("train", "val", "test")}  # type: ignore[arg-type]
    for name, images in drawn.items():
        assert torch.equal(images, whole(dataset(path).split(name)))  # type: ignore[arg-type]
        assert images.unique().tolist() == [0, 255]
    assert not torch.equal(drawn["train"][0], drawn["test"][0])


def test_validation_images_are_a_random_share_of_sorted_ones(path: Path) -> None:
    data = dataset(path, validation_share=0.4)
    labels = {name: data.split(name).batch(torch.arange(16)).labels for name in ("train", "val")}  # type: ignore[arg-type]
    assert labels["val"].unique().tolist() == [0, 1, 2, 3]
    assert sorted(data.split("val").names(torch.arange(16)) + data.split("train").names(torch.arange(24))) == [
        f"{number:06d}" for number in range(40)
    ]


def test_a_limit_takes_images_of_every_class(path: Path) -> None:
    everything = dataset(path).split("test")
    limited, chosen = choose_split(dataset(path), "test", 12), shuffled_indices(len(everything), 12)
    assert set(limited.batch(torch.arange(12)).labels.tolist()) == {0, 1, 2, 3}
    assert limited.names(torch.arange(12)) == everything.names(chosen)
    assert torch.equal(whole(limited)[1], whole(everything)[chosen[1]])


def test_other_kinds_are_not_drawn(path: Path) -> None:
    train = dataset(path, value_kind="auto").split("train")
    assert train.epoch(3) is train
    assert torch.equal(whole(train)[0].unique(), torch.tensor(GREYS, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="value_kind"):
        from vqkit.registry import DATASETS

        DATASETS.options("components", {"path": str(path), "value_kind": "sampled"})


def test_the_draw_of_eight_bits_is_what_it_always_was(path: Path) -> None:
    """Published numbers depend on it: torch's Mersenne Twister times 255, compared with the grey."""
    data = dataset(path)
    greys = torch.from_numpy(np.load(path)["test_images"])[:, None]
    uniform = torch.rand(greys.shape, generator=generator_for("binarised", "test"))
    assert torch.equal(whole(data.split("test")) == 255, uniform * 255 < greys)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_floats_are_probabilities(tmp_path: Path, dtype: str) -> None:
    greys = np.linspace(0, 1, 5).repeat(1000).reshape(50, 10, 10).astype(dtype)
    np.save(tmp_path / "set.npy", greys)
    data = dataset(tmp_path / "set.npy")
    drawn = torch.cat([whole(data.split(name)) for name in ("train", "val")])  # type: ignore[arg-type]
    assert drawn.unique().tolist() == [0, 255]
    assert (drawn == 255).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert data.spec == DataSpec.uniform("set", ("grey",), 10, 10, "binary", classes=())


def test_greys_of_other_types_need_a_range(tmp_path: Path) -> None:
    greys = np.full((20, 8, 8), 1024, dtype=np.uint16)
    np.save(tmp_path / "set.npy", greys)
    with pytest.raises(ConfigError, match=r"those of .* run from 1024 to 1024"):
        dataset(tmp_path / "set.npy").split("train")
    drawn = whole(dataset(tmp_path / "set.npy", range=(0.0, 4096.0)).split("train"))
    assert (drawn == 255).float().mean().item() == pytest.approx(0.25, abs=0.06)
