"""Packed data sets in shards: what one file holds, in the same order, for any number of processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from vqkit.cli.data import data_app
from vqkit.core import distributed
from vqkit.core.shard_records import Job, ShardedOutput
from vqkit.core.shards import Shard
from vqkit.data.arrays import ArrayDataset
from vqkit.data.loading import TrainingLoader
from vqkit.data.opening import open_dataset
from vqkit.data.packed_shards import INDEX_KIND, ShardedRows
from vqkit.data.packing import pack, packed_names
from vqkit.data.tyre import TyreDataset
from vqkit.errors import ConfigError, DataError
from vqkit.image_io.rasters import Window
from vqkit.interfaces import SPLITS, ImageDataset

TYRES = TyreDataset(TyreDataset.Options(num_train=20, num_val=4, num_test=3))


def packed(dataset: ImageDataset, folder: Path, total: int) -> Path:
    """The index of a data set in shards."""
    folder.mkdir(exist_ok=True)
    for number in range(total):
        output = ShardedOutput(folder / "set.safetensors", INDEX_KIND, Shard(number, total))
        output.finish(Job.of("all", number), pack(dataset, output.file, output.shard))
        index = output.join()
    assert index is not None
    return index.path


def gaps(folder: Path) -> ImageDataset:
    """Seven images of 9 x 12, of which the model sees tiles of 4 x 5, with missing pixels."""
    images = torch.rand(7, 2, 9, 12, generator=torch.Generator().manual_seed(0)).numpy()
    images[images < 0.2] = np.nan
    np.savez(folder / "gaps.npz", train=images[:4], val=images[4:6], test=images[6:])
    return ArrayDataset(ArrayDataset.Options(path=str(folder / "gaps.npz"), height=4, width=5))


@pytest.mark.parametrize("total", [1, 3, 21])
def test_shards_hold_what_one_file_holds(tmp_path: Path, total: int) -> None:
    (tmp_path / "gaps").mkdir()
    for name, dataset in (("tyres", TYRES), ("tiles", gaps(tmp_path))):
        pack(dataset, tmp_path / f"{name}.safetensors")
        one = open_dataset(str(tmp_path / f"{name}.safetensors"))
        several = open_dataset(str(packed(dataset, tmp_path / name, total)))
        assert several.spec == one.spec
        for split in SPLITS:
            before, after = one.split(split).epoch(3), several.split(split).epoch(3)
            indices = torch.randperm(len(before), generator=torch.Generator().manual_seed(1))
            assert len(before) == len(after) and before.names(indices) == after.names(indices)
            expected, found = before.batch(indices), after.batch(indices)
            for first, second in zip(expected[:3], found[:3], strict=True):
                torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True)
            assert torch.equal(expected.observed, found.observed)


@pytest.mark.parametrize("processes", [2, 4])
def test_any_number_of_processes_sees_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int) -> None:
    train = open_dataset(str(packed(TYRES, tmp_path, 3))).split("train")
    expected = [batch.images for batch in TrainingLoader(TYRES.split("train"), 8, 5, 0).epoch(2)]
    seen: list[list[Tensor]] = []
    monkeypatch.setattr(distributed, "world_size", lambda: processes)
    for rank in range(processes):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        loader = TrainingLoader(train, 8, 5, 0)
        seen.append([batch.images for batch in loader.epoch(2, start=1)])  # resumed in the middle of an epoch
    assert torch.equal(torch.cat([each[0] for each in seen]), expected[1]) and len(seen[0]) == 1


def test_rows_of_several_files() -> None:
    whole = torch.arange(7 * 2 * 3 * 4).to(torch.uint16).view(7, 2, 3, 4)
    rows = ShardedRows(torch.split(whole, (3, 1, 3)))
    assert len(rows) == 7 and rows.shape == whole.shape and rows.dtype == torch.uint16
    for indices in ([6, 0, 3, 3, 2], [], [4]):
        assert rows[torch.tensor(indices, dtype=torch.int64)].tolist() == [whole[index].tolist() for index in indices]
    window = Window(1, 2, 2, 1)
    assert torch.equal(rows.cut(3, window), whole[3][:, window.rows, window.columns])


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(data_app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_the_command_packs_shards_and_joins_them(tmp_path: Path) -> None:
    images = np.arange(9 * 48, dtype=np.uint8).reshape(9, 1, 6, 8)
    np.savez(tmp_path / "a.npz", train=images[:5], val=images[5:8], test=images[8:])
    prepare = ["prepare", tmp_path / "a.npz", "--out", tmp_path / "set.safetensors"]
    assert "2 train, 1 val, 0 test images packed" in run(*prepare, "--shard", "1/2")
    assert "is finished already" in run(*prepare, "--shard", "1/2")
    said = run(*prepare, "--shard", "0/2")
    assert "3 train, 2 val, 1 test images packed" in said
    assert f"next: vqkit train-vqvae --data {tmp_path / 'set.index.json'}" in said
    opened = open_dataset(str(tmp_path / "set.index.json"))
    assert torch.equal(opened.split("train").batch(torch.arange(5)).images, torch.from_numpy(images[:5]))
    assert opened.split("val").names(torch.arange(3)) == packed_names(open_dataset(str(tmp_path / "a.npz")))["val"]
    with pytest.raises(DataError, match="made of other images"):
        run(*prepare, "--set", "data.range=[0, 100]", "--shard", "0/2")


def test_shards_of_other_data_and_other_settings_are_refused(tmp_path: Path) -> None:
    index = packed(TYRES, tmp_path, 2)
    other = TyreDataset(TyreDataset.Options(num_train=6, num_val=4, num_test=3, seed=5))
    output = ShardedOutput(tmp_path / "set.safetensors", INDEX_KIND, Shard(1, 2))
    output.finish(Job.of("all", 1), pack(other, output.file, output.shard))
    output.join()
    with pytest.raises(DataError, match="packed from other data"):
        open_dataset(str(index))
    with pytest.raises(ConfigError, match="shards stay on the disk"):
        ArrayDataset(ArrayDataset.Options(path=str(index), value_kind="sampled"))
    with pytest.raises(ConfigError, match=r"data\.layout cannot be changed"):
        ArrayDataset(ArrayDataset.Options(path=str(packed(TYRES, tmp_path, 2)), layout="NHWC"))
