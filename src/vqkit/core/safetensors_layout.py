"""The header of a safetensors file, for writers that do not hold all tensors in memory.

The format: 8 bytes with the length of the header (little endian), the header as JSON, padded with spaces to a multiple of 8 bytes,
and the tensors one after the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch

_NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.uint16: "U16",
    torch.uint32: "U32",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
}


class StoredTensor(NamedTuple):
    """What the header says of a tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


def safetensors_header(tensors: Iterable[StoredTensor], metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """The header, and where each tensor begins in the file. They lie in the order given.

    Those with the widest types come first: a tensor is aligned to the size of its type.
    """
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    starts, offset = {}, 0
    for name, dtype, shape in tensors:
        end = offset + torch.Size(shape).numel() * dtype.itemsize
        entries[name] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [offset, end]}
        starts[name], offset = offset, end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    return header, {name: len(header) + start for name, start in starts.items()}
