"""Packing a whole data set into one safetensors file, with its specification in the header; written in chunks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from vqkit.core.atomic import write_atomically
from vqkit.errors import DataError
from vqkit.interfaces import SPLITS, DataSpec, ImageDataset, Split

SPEC_KEY = "vqkit_spec"
FORMAT_KEY = "vqkit_format"
FORMAT = "dataset-1"
_BATCH = 1024
_DTYPES = {torch.uint8: "U8", torch.float32: "F32", torch.int64: "I64"}


class _Part(NamedTuple):
    """One tensor of the file: its name, dtype, shape and which of a split's fields it is."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    split: Split
    field: str

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return int(torch.Size(self.shape).numel()) * self.dtype.itemsize


def pack(dataset: ImageDataset, path: Path) -> dict[str, int]:
    """Write the data set's three splits to a safetensors file, atomically; returns the number of images in each.

    Tensors, for each split: `{split}_images` uint8 [N, C, H, W], `{split}_conditions` float32 [N, D] and `{split}_labels`
    int64 [N] where there are any, and `{split}_names`, UTF-8 text as uint8, one line a name. Only a few batches are in memory
    at a time, besides the data set itself. Raises `DataError` when a split has no images.
    """
    if path.suffix != ".safetensors":
        raise DataError(
            f"{path} does not end in .safetensors.", "Packed data sets are safetensors files: give --out FILE.safetensors."
        )
    splits = {name: dataset.split(name) for name in SPLITS}
    parts = [part for name, split in splits.items() for part in _parts(name, split, dataset.spec)]
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        header = _header(parts, dataset.spec)
        file.write(len(header).to_bytes(8, "little") + header)
        for part in parts:
            for chunk in _chunks(part):
                file.write(chunk)
    return {name: len(split) for name, split in splits.items()}


def read_spec(metadata: dict[str, str], path: Path) -> DataSpec | None:
    """The specification in a safetensors file's metadata; None when it is not a packed data set."""
    if FORMAT_KEY not in metadata:
        return None
    if metadata[FORMAT_KEY] != FORMAT:
        hint = "Update vqkit, or prepare the file again with `vqkit data prepare`."
        raise DataError(f"{path} has the format {metadata[FORMAT_KEY]}, where {FORMAT} is expected.", hint)
    return DataSpec.from_json(json.loads(metadata[SPEC_KEY]))


def _parts(name: str, split: Split, spec: DataSpec) -> Iterator[_Part]:
    count = len(split)
    # Widest data types first: safetensors aligns every tensor to the size of its data type.
    if spec.classes:
        yield _Part(f"{name}_labels", torch.int64, (count,), split, "labels")
    if spec.conditions:
        yield _Part(f"{name}_conditions", torch.float32, (count, len(spec.conditions)), split, "conditions")
    yield _Part(f"{name}_images", torch.uint8, (count, len(spec.components), spec.height, spec.width), split, "images")
    yield _Part(f"{name}_names", torch.uint8, (len(_names(split)),), split, "names")


def _header(parts: list[_Part], spec: DataSpec) -> bytes:
    """The JSON header of the safetensors format, padded with spaces to a multiple of 8 bytes."""
    parts.sort(key=lambda part: -part.dtype.itemsize)
    entries: dict[str, object] = {"__metadata__": {FORMAT_KEY: FORMAT, SPEC_KEY: json.dumps(spec.to_json())}}
    offset = 0
    for part in parts:
        entries[part.name] = {"dtype": _DTYPES[part.dtype], "shape": part.shape, "data_offsets": [offset, offset + part.bytes]}
        offset += part.bytes
    text = json.dumps(entries).encode()
    return text + b" " * (-len(text) % 8)


def _chunks(part: _Part) -> Iterator[bytes]:
    """The bytes of a tensor, batch by batch."""
    if part.field == "names":
        yield _names(part.split)
        return
    for indices in torch.split(torch.arange(len(part.split)), _BATCH):
        values = getattr(part.split.batch(indices), part.field)
        yield values.to(part.dtype).contiguous().numpy().tobytes()


def _names(split: Split) -> bytes:
    return "\n".join(split.names(torch.arange(len(split)))).encode()
