"""One codes file written by several processes: each writes its part, and rank 0 joins them in order, block by block.

The processes need a file system that all of them see. The file is the one that a single process would write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open

from vqkit.core import distributed
from vqkit.core.shards import Shard
from vqkit.interfaces import Tokenizer
from vqkit.storage.checkpoints import read_header
from vqkit.storage.code_writing import CodesWriter, EncodedPart, codes_writer

_ROWS = 4096


@contextmanager
def joined_codes_writer(path: Path, tokenizer: Tokenizer, digest: str, class_names: tuple[str, ...] = ()) -> Iterator[CodesWriter]:
    """A writer of this process's images, those of lower ranks before them; the file is there on all processes after the block.

    Raises as `codes_writer` does.
    """
    processes = distributed.world_size()
    if processes == 1:
        with codes_writer(path, tokenizer, digest, class_names) as writer:
            yield writer
        return
    parts = [Shard(rank, processes).path(path.with_name(f".{path.stem}.part{path.suffix}")) for rank in range(processes)]
    with codes_writer(parts[distributed.rank()], tokenizer, digest, class_names) as writer:
        yield writer
    distributed.barrier()
    if distributed.is_main():
        with codes_writer(path, tokenizer, digest, class_names) as whole:
            for part in parts:
                for images in _stored(part):
                    whole.add(images)
        for part in parts:
            part.unlink()
    distributed.barrier()


def _stored(path: Path) -> Iterator[EncodedPart]:
    """The images in a codes file, some at a time."""
    header = read_header(path)
    names, levels = header["names"], [f"level_{number}" for number in range(len(header["cardinalities"]))]
    with safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in ("labels", "conditions", *levels)}
        for start in range(0, len(names), _ROWS):
            stop = min(start + _ROWS, len(names))
            rows: dict[str, torch.Tensor] = {name: each[start:stop] for name, each in slices.items()}
            codes = tuple(rows[level] for level in levels)
            yield EncodedPart(codes, tuple(names[start:stop]), rows["labels"], rows["conditions"])
