"""A run goes on only with the data that it was trained on, unless someone decides otherwise."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from small_runs import tiny_prior
from vqkit.config import NamedOptions, PriorRunConfig
from vqkit.data.fingerprints import fingerprint
from vqkit.data.opening import open_dataset
from vqkit.errors import CheckpointError, ConfigError
from vqkit.training.data_identity import DATA_FILE
from vqkit.training.run import train

SMALL = {"name": "vqvae", "hidden": 8, "inner": 8, "blocks": 1, "quantizer": {"num_codes": 16, "dim": 4}}


def save(path: Path, change: Callable[[dict[str, Any]], None] = lambda arrays: None) -> None:
    drawn = torch.Generator().manual_seed(0)
    arrays: dict[str, Any] = {}
    for name, count in (("train", 24), ("val", 8)):
        arrays[f"{name}_images"] = torch.randint(0, 255, (count, 3, 8, 8), dtype=torch.uint8, generator=drawn).numpy()
        arrays[f"{name}_conditions"] = torch.randn(count, 2, generator=drawn).numpy()
    change(arrays)
    np.savez(path, **arrays)


def settings(data: Path, steps: int = 2) -> dict[str, Any]:
    return {
        "model": SMALL,
        "data": {"name": "arrays", "path": str(data)},
        "training": {"batch_size": 8, "steps": steps, "precision": "fp32", "checkpoint_every": 1},
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("identity")
    save(folder / "set.npz")
    train(None, settings(folder / "set.npz"), [], folder / "run", "auto")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, whose data are at the same place."""
    save(trained / "set.npz")
    shutil.copytree(trained / "run", tmp_path / "run")
    return tmp_path / "run"


def one_pixel(arrays: dict[str, Any]) -> None:
    arrays["train_images"][17, 2, 3, 4] ^= 1


def one_condition(arrays: dict[str, Any]) -> None:
    arrays["val_conditions"][3, 1] += 1


def one_image_more(arrays: dict[str, Any]) -> None:
    for name in ("train_images", "train_conditions"):
        arrays[name] = np.concatenate([arrays[name], arrays[name][:1]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one_pixel, "train images, conditions or labels that are not as they were"),
        (one_condition, "val images, conditions or labels that are not as they were"),
        (one_image_more, "25 train images, where it was trained with 24"),
    ],
)
def test_other_data_are_refused_until_someone_decides(trained: Path, run: Path, change: Any, said: str) -> None:
    save(trained / "set.npz", change)
    for how in ("auto", str(run)):
        with pytest.raises(ConfigError, match=said) as error:
            train(None, settings(trained / "set.npz") if how == "auto" else {}, [], run if how == "auto" else None, how)
        assert str(run / DATA_FILE) in error.value.hint
    (run / DATA_FILE).unlink()
    train(None, {"training": {"steps": 3}}, [], None, str(run))
    train(None, {"training": {"steps": 4}}, [], None, str(run))  # what it was trained with is recorded again


def test_the_same_data_are_accepted(run: Path) -> None:
    train(None, {"training": {"steps": 3}}, [], None, str(run))


def test_a_damaged_record_is_refused(run: Path) -> None:
    for content in (b"", b"{}", b"\xff", b'{"train": {"images": -1, "names": "", "content": ""}, "val": 3}'):
        (run / DATA_FILE).write_bytes(content)
        with pytest.raises(CheckpointError, match=r"data\.json"):
            train(None, {}, [], None, str(run))


def test_names_count(tmp_path: Path) -> None:
    found = []
    for names in ("abcd", "abce"):
        for name, component in itertools.product(names, ("dna", "actin")):
            (tmp_path / names / component).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / names / component / f"{name}_{component}.npy", np.full((8, 8), 7, np.uint8))
        found.append(fingerprint(open_dataset(NamedOptions(name="components", path=str(tmp_path / names))).split("train")))
    assert found[0].images == found[1].images and found[0].content == found[1].content
    assert found[0].names != found[1].names


def test_a_large_split_is_sampled_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import vqkit.data.fingerprints as module

    split = open_dataset(NamedOptions(name="tyre", num_train=96, num_val=4, num_test=4)).split("train")
    read: list[int] = []
    batch = type(split).batch
    monkeypatch.setattr(type(split), "batch", lambda self, indices: read.extend(indices.tolist()) or batch(self, indices))
    monkeypatch.setattr(module, "_MOST", 20)
    first = fingerprint(split)
    assert sorted(set(read)) == torch.linspace(0, 95, 20, dtype=torch.float64).round().long().tolist()
    assert fingerprint(split) == first


def test_the_codes_of_a_prior_are_its_data(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "prior"
    train(None, tiny_prior(tiny_run, steps=2), [], run, "auto", PriorRunConfig)
    train(None, {"training": {"steps": 3}}, [], None, str(run), PriorRunConfig)
    assert (run / DATA_FILE).is_file()
