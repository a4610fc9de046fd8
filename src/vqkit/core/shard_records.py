"""What is known of an output in shards: a record beside each finished shard, and an index that joins all of them.

    codes-00003-of-00064.safetensors   a shard
    codes-00003-of-00064.done.json     its record, written after it: a shard without one is made again
    codes.index.json                   the index, written by whoever finds that all records are there

Records and index are functions of the input alone: whoever writes them, whenever, writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vqkit.core.atomic import write_text
from vqkit.core.shards import MOST_SHARDS, Shard
from vqkit.errors import DataError

INDEX_SUFFIX = ".index.json"
_FORMAT = 1
_RECORD_SUFFIX = ".done.json"
_LONGEST = 2**26
"""Bytes of an index: a hundred thousand shards have a third of that."""
_BLOCK = 2**20
_AGAIN = "It was edited or is damaged; make the shards again."


class ShardFile(NamedTuple):
    """A finished shard: the name, length and digest of its file, and how many images it holds, by split if it has any."""

    file: str
    bytes: int
    sha256: str
    counts: dict[str, int]


class ShardIndex(NamedTuple):
    """All shards of an output, in order; `path`: of the index, beside which they lie."""

    path: Path
    kind: str
    shards: tuple[ShardFile, ...]

    def files(self) -> list[Path]:
        """The shards' files, in order."""
        return [self.path.with_name(shard.file) for shard in self.shards]

    def images(self, name: str = "images") -> int:
        """Images of all shards together."""
        return sum(shard.counts.get(name, 0) for shard in self.shards)


class Job(NamedTuple):
    """What a shard is made of: digests of what all shards have in common (`whole`), and of this shard's own input (`part`)."""

    whole: str
    part: str

    @classmethod
    def of(cls, whole: object, part: object, *settings: object) -> Job:
        """The job of plain values: what is common to all shards, what is this shard's own, and settings, which are common too."""
        return cls(*(hashlib.sha256(json.dumps(each, sort_keys=True).encode()).hexdigest() for each in ([whole, *settings], part)))


class ShardedOutput:
    """One shard of an output, whose other shards lie beside it. `whole`: the file of the whole; `kind`: of what it consists."""

    def __init__(self, whole: Path, kind: str, shard: Shard) -> None:
        self.kind, self.shard = kind, shard
        self.file = shard.path(whole)
        self.index = index_path(whole)
        self._whole = whole

    def is_finished(self, job: Job) -> bool:
        """Whether this shard is there already, as it is to be made.

        Raises `DataError` when this or another shard was made of something else, or when the output was begun in other shards.
        """
        own = self._record(self.shard)
        for record in sorted(self._whole.parent.glob(f"{_escaped(self._whole.stem)}-*-of-*{_RECORD_SUFFIX}")):
            if not record.name.endswith(f"-of-{self.shard.total:05d}{_RECORD_SUFFIX}"):
                raise DataError(
                    f"{record} is of other shards than {self.shard}.",
                    "Use as many shards as before, or choose another --out.",
                )
            content = _read_record(record)
            if content["whole"] != job.whole:
                raise DataError(
                    f"The shard of {record} was made of other images, by another model, or with other options.",
                    "Choose another --out, or remove the shards that are there.",
                )
            if record == own and content["part"] != job.part:
                raise DataError(
                    f"The images of {record} have changed since.", "Choose another --out, or remove that file to do them again."
                )
        found = _read_record(own)["shard"] if own.is_file() else None
        return found is not None and self.file.is_file() and self.file.stat().st_size == found.bytes

    def finish(self, job: Job, counts: Mapping[str, int]) -> None:
        """Write the record of this shard, whose file is in place."""
        content = {"format": _FORMAT, "kind": self.kind, **job._asdict()}
        described = ShardFile(self.file.name, self.file.stat().st_size, file_digest(self.file), dict(counts))
        write_text(self._record(self.shard), json.dumps({**content, "shard": described._asdict()}, indent=1) + "\n")

    def join(self) -> ShardIndex | None:
        """Write the index if all shards are finished, and return it; None if some are missing."""
        records = [self._record(Shard(number, self.shard.total)) for number in range(self.shard.total)]
        if not all(record.is_file() for record in records):
            return None
        contents = [_read_record(record) for record in records]
        shards = tuple(content["shard"] for content in contents)
        if len({content["whole"] for content in contents}) > 1:
            raise DataError(
                f"The shards of {self._whole} were not made of the same images, by one model, with the same options.",
                "Remove them and make them again.",
            )
        content = {"format": _FORMAT, "kind": self.kind, "shards": [shard._asdict() for shard in shards]}
        write_text(self.index, json.dumps(content, indent=1) + "\n")
        return ShardIndex(self.index, self.kind, shards)

    def _record(self, shard: Shard) -> Path:
        return shard.path(self._whole).with_suffix(_RECORD_SUFFIX)


def index_path(whole: Path) -> Path:
    """The index of an output in shards, beside the file of the whole."""
    return whole.with_name(f"{whole.stem}{INDEX_SUFFIX}")


def is_index(path: Path) -> bool:
    """Whether a file is called like an index."""
    return path.name.endswith(INDEX_SUFFIX)


def read_index(path: Path, kind: str) -> ShardIndex:
    """The index of an output of this kind; whose files are there, with the length that they had.

    Raises `DataError` when it is none, was edited, or lacks a file.
    """
    content = _read_json(path)
    if content.get("kind") != kind:
        raise DataError(f"{path} is no index of {kind}: it says {str(content.get('kind'))[:40]}.", f"Name an index of {kind}.")
    shards = content.get("shards")
    if not isinstance(shards, list) or not 1 <= len(shards) <= MOST_SHARDS:
        raise DataError(f"{path} names no shards.", _AGAIN)
    index = ShardIndex(path, kind, tuple(_shard_file(each, path) for each in shards))
    for file, shard in zip(index.files(), index.shards, strict=True):
        length = file.stat().st_size if file.is_file() else None
        if length != shard.bytes:
            what = "is missing" if length is None else f"has {length} bytes, where {shard.bytes} are expected"
            raise DataError(f"The shard {file} of {path} {what}.", "Put it back, or make that shard again.")
    return index


def check_digest(index: ShardIndex, number: int) -> Path:
    """The file of a shard, which is as it was made. Raises `DataError` when it is another."""
    path = index.files()[number]
    if file_digest(path) != index.shards[number].sha256:
        raise DataError(f"The shard {path} is not the one that {index.path} names.", "Make that shard again.")
    return path


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _read_record(path: Path) -> dict[str, Any]:
    content = _read_json(path)
    if not all(isinstance(content.get(name), str) for name in ("kind", "whole", "part")):
        raise DataError(f"{path} is no record of a shard.", _AGAIN)
    return {**content, "shard": _shard_file(content.get("shard"), path)}


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise DataError(f"There is no file {path}.", "Check the path; an index is written when all shards are finished.")
    if path.stat().st_size > _LONGEST:
        raise DataError(f"{path} is larger than any index.", _AGAIN)
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise DataError(f"{path} is no index or record of format {_FORMAT}.", _AGAIN)
    return content


def _shard_file(given: object, path: Path) -> ShardFile:
    """An entry, checked: a name of a file in the same directory, and numbers that are none below 0."""
    fits = (
        isinstance(given, dict)
        and set(given) == set(ShardFile._fields)
        and _is_plain_name(given["file"])
        and isinstance(given["sha256"], str)
        and isinstance(given["counts"], dict)
        and all(type(number) is int and number >= 0 for number in (given["bytes"], *given["counts"].values()))
    )
    if not fits:
        raise DataError(f"{path} describes a shard with a value that is missing or wrong.", _AGAIN)
    assert isinstance(given, dict)
    return ShardFile(**given)


def _is_plain_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..") and not any(mark in name for mark in "/\\\0")


def _escaped(stem: str) -> str:
    """A stem as a pattern that stands for itself."""
    return "".join(f"[{mark}]" if mark in "*?[" else mark for mark in stem)
