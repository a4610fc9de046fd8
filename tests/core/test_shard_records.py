"""Records of finished shards, and the index that joins them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vqkit.core.shard_records import Job, ShardedOutput, check_digest, index_path, read_index
from vqkit.core.shards import Shard
from vqkit.errors import DataError


def job(part: int = 0, whole: str = "images") -> Job:
    return Job.of(whole, part)


def make(folder: Path, number: int, total: int = 3, content: str = "", whole: str = "images") -> ShardedOutput:
    """A finished shard."""
    output = ShardedOutput(folder / "out.bin", "things", Shard(number, total))
    assert not output.is_finished(job(number, whole))
    output.file.write_text(content or f"shard {number}")
    output.finish(job(number, whole), {"images": number})
    return output


def test_the_last_shard_joins_all_whatever_the_order(tmp_path: Path) -> None:
    texts = []
    for name, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        (tmp_path / name).mkdir()
        outputs = [make(tmp_path / name, number) for number in order[:-1]]
        assert all(output.join() is None for output in outputs) and not outputs[0].index.exists()
        index = make(tmp_path / name, order[-1]).join()
        assert index is not None and index.images() == 3 and index == read_index(index.path, "things")
        texts.append(index.path.read_bytes())
    assert texts[0] == texts[1] and index_path(tmp_path / "b" / "out.bin") == tmp_path / "b" / "out.index.json"


def test_a_finished_shard_is_recognised(tmp_path: Path) -> None:
    output = make(tmp_path, 1)
    assert output.is_finished(job(1))
    output.file.write_text("cut")
    assert not output.is_finished(job(1))
    output.file.unlink()
    assert not output.is_finished(job(1))


def test_shards_of_something_else_are_refused(tmp_path: Path) -> None:
    output = make(tmp_path, 1)
    with pytest.raises(DataError, match="made of other images, by another model"):
        output.is_finished(job(1, "others"))
    with pytest.raises(DataError, match="made of other images, by another model"):
        ShardedOutput(tmp_path / "out.bin", "things", Shard(0, 3)).is_finished(job(0, "others"))
    with pytest.raises(DataError, match="have changed since"):
        output.is_finished(job(7))
    with pytest.raises(DataError, match="is of other shards than 0/2"):
        ShardedOutput(tmp_path / "out.bin", "things", Shard(0, 2)).is_finished(job(0))


def test_other_outputs_beside_it_are_no_hindrance(tmp_path: Path) -> None:
    make(tmp_path, 1)
    assert not ShardedOutput(tmp_path / "o*.bin", "things", Shard(0, 2)).is_finished(job(0, "others"))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    made = [make(tmp_path, number) for number in range(3)][-1].join()
    assert made is not None
    return made.path


def test_files_that_are_not_those_of_the_index(index: Path) -> None:
    with pytest.raises(DataError, match="no index of codes: it says things"):
        read_index(index, "codes")
    file = index.with_name("out-00001-of-00003.bin")
    file.write_text("shard X")
    with pytest.raises(DataError, match="is not the one that"):
        check_digest(read_index(index, "things"), 1)
    file.write_text("longer than it was")
    with pytest.raises(DataError, match="has 18 bytes, where 7 are expected"):
        read_index(index, "things")
    file.unlink()
    with pytest.raises(DataError, match="is missing"):
        read_index(index, "things")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"shards": []},
        {"shards": "all"},
        {"shards": [{"file": "../out.bin", "bytes": 7, "sha256": "", "counts": {}}]},
        {"shards": [{"file": "out.bin", "bytes": -7, "sha256": "", "counts": {}}]},
        {"shards": [{"file": "out.bin", "bytes": True, "sha256": "", "counts": {}}]},
        {"shards": [{"file": "out.bin", "bytes": 7, "sha256": "", "counts": {"images": "7"}}]},
        {"shards": [{"file": "out.bin"}]},
    ],
)
def test_an_index_that_was_edited_is_refused(index: Path, change: dict[str, Any]) -> None:
    index.write_text(json.dumps({**json.loads(index.read_text()), **change}))
    with pytest.raises(DataError):
        read_index(index, "things")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{" * 100_000])
def test_what_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.index.json").write_bytes(content)
    with pytest.raises(DataError, match="no index or record"):
        read_index(tmp_path / "x.index.json", "things")
    with pytest.raises(DataError, match="There is no file"):
        read_index(tmp_path / "y.index.json", "things")
