"""Writing a codes file while the images are encoded: memory does not grow with their number, except by their names.

What is added goes to unnamed temporary files, one for each tensor. At the end the header, which needs their digest, is written in
front of them: the file is the one that `vqkit.storage.checkpoints.write_tensors` would write of the same tensors.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch
from torch import Tensor

from vqkit.core.atomic import write_atomically
from vqkit.core.safetensors_layout import StoredTensor, safetensors_header
from vqkit.core.write_errors import errors_name
from vqkit.errors import DataError
from vqkit.interfaces import Codes, Tokenizer
from vqkit.storage.code_ranges import check_codes, smallest_integer
from vqkit.storage.headers import sealed

_WIDEST_FIRST = (torch.float32, torch.int32, torch.int16, torch.uint8)
"""In the order in which safetensors lays tensors out: the widest first, so that all are aligned."""
_LONGEST_HEADER = 100_000_000
"""Bytes of a header that safetensors reads."""
_BLOCK = 2**20


class EncodedPart(NamedTuple):
    """Some images as codes: each level int [B, h, w]; their names; `labels` int64 [B], -1: none; `conditions` float32 [B, D]."""

    codes: Codes
    names: tuple[str, ...]
    labels: Tensor
    conditions: Tensor


class CodesWriter:
    """Takes parts one after the other; `codes_writer` makes one and writes the file when its block ends. `count`: images so far."""

    def __init__(
        self, path: Path, tokenizer: Tokenizer, digest: str, class_names: tuple[str, ...], spools: Mapping[str, IO[bytes]]
    ) -> None:
        self._path = path
        self._tokenizer, self._digest, self._class_names = tokenizer, digest, class_names
        self._spools = dict(spools)
        self._shapes: dict[str, tuple[int, ...]] = {
            "labels": (),
            "conditions": (len(tokenizer.spec.condition_names),),
            **{f"level_{number}": shape for number, shape in enumerate(tokenizer.code_shapes)},
        }
        self._types = {"labels": torch.int32, "conditions": torch.float32}
        self._types |= {f"level_{number}": smallest_integer(size) for number, size in enumerate(tokenizer.cardinalities)}
        self._names: list[str] = []
        self.count = 0

    def add(self, part: EncodedPart) -> None:
        """Add images. Raises `CheckpointError` unless the codes are the tokenizer's, and `OSError` when the disk is full."""
        check_codes(part.codes, self._tokenizer)
        tensors = {"labels": part.labels, "conditions": part.conditions}
        tensors |= {f"level_{number}": level for number, level in enumerate(part.codes)}
        with errors_name(self._path):
            for name, tensor in tensors.items():
                self._spools[name].write(tensor.to(self._types[name]).contiguous().numpy().tobytes())
        self._names += part.names
        self.count += len(part.labels)

    def finish(self) -> None:
        """Write the file. Raises `DataError` when its header would be too long to be read."""
        header = self._header()
        with write_atomically(self._path) as temporary, temporary.open("wb") as file:
            file.write(header)
            for name in self._order():
                for block in _blocks(self._spools[name]):
                    file.write(block)

    def _order(self) -> list[str]:
        return sorted(self._types, key=lambda name: (_WIDEST_FIRST.index(self._types[name]), name))

    def _header(self) -> bytes:
        tensors = [StoredTensor(name, self._types[name], (self.count, *self._shapes[name])) for name in self._order()]
        header, _ = safetensors_header(tensors, {"vqkit": sealed(self._described(), self._tensor_digest())})
        if len(header) > _LONGEST_HEADER:
            raise DataError(
                f"The names of {self.count} images are too long for the header of one file, {self._path}.",
                "Encode them in shards: --shard 0/64, 1/64 and so on.",
            )
        return header

    def _described(self) -> dict[str, Any]:
        tokenizer = self._tokenizer
        return {
            "kind": "codes",
            "tokenizer": self._digest,
            "levels": tokenizer.level_names,
            "grids": tokenizer.code_shapes,
            "cardinalities": tokenizer.cardinalities,
            "condition_names": tokenizer.spec.condition_names,
            "class_names": self._class_names,
            "names": self._names,
        }

    def _tensor_digest(self) -> str:
        """As `vqkit.storage.checkpoints.digest`."""
        state = hashlib.sha256()
        for name in sorted(self._types):
            state.update(f"{name} {self._types[name]} {(self.count, *self._shapes[name])};".encode())
            for block in _blocks(self._spools[name]):
                state.update(block)
        return state.hexdigest()


@contextmanager
def codes_writer(path: Path, tokenizer: Tokenizer, digest: str, class_names: tuple[str, ...] = ()) -> Iterator[CodesWriter]:
    """A writer of the codes of a tokenizer that has this digest; the file is written, atomically, if the block succeeds.

    Raises `OSError` when the file cannot be written, and `DataError` for too many images for one file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["labels", "conditions", *(f"level_{number}" for number in range(len(tokenizer.cardinalities)))]
    with ExitStack() as stack:
        # Unnamed: nothing is left of them when the process is killed.
        spools = {name: stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for name in names}
        writer = CodesWriter(path, tokenizer, digest, class_names, spools)
        yield writer
        writer.finish()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while block := file.read(_BLOCK):
        yield block
