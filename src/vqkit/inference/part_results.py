"""What became of a part of the images at a path: joined over processes, kept beside a shard, and joined over shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from vqkit.core import distributed
from vqkit.core.atomic import write_text
from vqkit.core.shard_records import ShardIndex, check_digest
from vqkit.errors import DataError


class PartResult(NamedTuple):
    """Names of the images that were written; path and reason of those that were left out; entries of completions.json."""

    images: list[str]
    skipped: list[list[str]]
    completions: list[dict[str, Any]]

    @classmethod
    def joined(cls, parts: list[PartResult]) -> PartResult:
        """Several parts, one after the other."""
        lists = zip(*parts, strict=True)
        return cls(*([each for part in column for each in part] for column in lists))


def of_all_processes(own: PartResult) -> PartResult:
    """The results of all processes, in the order of their ranks, on each of them."""
    return PartResult.joined([PartResult(**json.loads(text)) for text in distributed.gather_texts(json.dumps(own._asdict()))])


def write_result(path: Path, result: PartResult) -> None:
    """Write the result of a shard, atomically."""
    write_text(path, json.dumps(result._asdict(), indent=1) + "\n")


def read_results(index: ShardIndex) -> PartResult:
    """The results of all shards, in order. Raises `DataError` for a file that is not as it was written."""
    parts = []
    for number in range(len(index.shards)):
        path = check_digest(index, number)
        try:
            parts.append(PartResult(**json.loads(path.read_bytes())))
        except (ValueError, TypeError, RecursionError):
            raise DataError(f"{path} is no result of a shard.", "Make that shard again.") from None
    return PartResult.joined(parts)
