"""Packing a whole data set into one safetensors file, with its specification in the header; written batch by batch.

For each split: `{split}_images` [N, C, H, W] in the stored dtype of the specification; where there are any,
`{split}_conditions` float32 [N, D] and `{split}_labels` int64 [N]; `{split}_names`, UTF-8 text as uint8, one line a name. Where
something is absent, also `{split}_present` bool [N, C] (which components there are), or `{split}_present_bits` uint8
[N, C or 1, H, ceil(W / 8)] (which pixels, see `rows.BitRows`). The metadata hold digests of the specification and of every tensor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.core.atomic import write_atomically
from vqkit.core.safetensors_layout import StoredTensor, safetensors_header
from vqkit.core.shards import WHOLE, Shard
from vqkit.data.array_contents import StoredSplit
from vqkit.data.joined import JoinedSplit
from vqkit.data.rows import pack_bits
from vqkit.data.subsets import Subset
from vqkit.data.tiled import TiledSplit
from vqkit.errors import DataError, VQKitError
from vqkit.interfaces import SPLITS, Batch, DataSpec, ImageDataset, Split

SPEC_KEY = "vqkit_spec"
DIGEST_KEY = "vqkit_spec_digest"
CONTENTS_KEY = "vqkit_digests"
"""Names, in the metadata, the digest of every tensor."""
FORMAT_KEY = "vqkit_format"
FORMAT = "dataset-2"
_AGAIN = "Prepare the file again with `vqkit data prepare`."
_BATCH = 1024
MOST_VERIFIED = 2**28
"""Bytes of the largest tensor that is verified when a file is opened; what is larger is meant to be read as it is needed."""
_PLACEHOLDER = "0" * 64


class _Part(NamedTuple):
    """One tensor of the file: its name, dtype, shape, and its content, as a whole or as the rows of a batch."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    content: Tensor | Callable[[Batch], Tensor]


def pack(dataset: ImageDataset, path: Path, shard: Shard = WHOLE) -> dict[str, int]:
    """Write the data set's three splits, or a shard of each, to a safetensors file, atomically; returns the images of each.

    Values are those of `Split.batch`, in every bit, and so is what is present of them. Images larger than the tile are packed whole
    if all of a split have one size, else as tiles side by side. Only one batch is in memory at a time,
    besides the data set itself. Raises `DataError` when a split has no images.
    """
    if path.suffix != ".safetensors":
        raise DataError(
            f"{path} does not end in .safetensors.", "Packed data sets are safetensors files: give --out FILE.safetensors."
        )
    whole: dict[str, Split] = {name: _at_rest(dataset.split(name)) for name in SPLITS}
    splits = {name: part for name, split in whole.items() if (part := _part(split, shard)) is not None}
    parts = {name: list(_parts(name, split)) for name, split in splits.items()}
    every = [part for each in parts.values() for part in each]
    header, starts = _layout(every, dataset.spec, {part.name: _PLACEHOLDER for part in every})
    digests: dict[str, str] = {}
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        for name, split in splits.items():
            digests |= _write_split(file, split, parts[name], starts)
        file.seek(0)
        file.write(_layout(every, dataset.spec, {part.name: digests[part.name] for part in every})[0])
    return {name: len(splits[name]) if name in splits else 0 for name in SPLITS}


def packed_names(dataset: ImageDataset, shard: Shard = WHOLE) -> dict[str, list[str]]:
    """The names of the images that `pack` writes, by split."""
    whole = {name: _at_rest(dataset.split(name)) for name in SPLITS}
    return {name: split.names(torch.tensor(shard.part(range(len(split))), dtype=torch.int64)) for name, split in whole.items()}


def _part(split: Split, shard: Shard) -> Split | None:
    """A shard of a split; None where it has no image."""
    part = shard.part(range(len(split)))
    if len(part) == len(split):
        return split
    return Subset(split, torch.arange(part.start, part.stop)) if part else None


def read_spec(metadata: dict[str, str], path: Path) -> DataSpec | None:
    """The specification in a safetensors file's metadata; None when it is not a packed data set.

    Raises `DataError` when it is of another format, was changed, or is wrong in any value.
    """
    if FORMAT_KEY not in metadata:
        return None
    if metadata[FORMAT_KEY] != FORMAT:
        hint = "Update vqkit, or prepare the file again with `vqkit data prepare`."
        raise DataError(f"{path} has the format {metadata[FORMAT_KEY][:20]}, where {FORMAT} is expected.", hint)
    text = metadata.get(SPEC_KEY, "")
    if metadata.get(DIGEST_KEY, _digest(text)) != _digest(text):  # files of earlier versions have none
        raise DataError(f"{path} was changed after it was written: its specification does not match its digest.", _AGAIN)
    try:
        return DataSpec.from_json(json.loads(text))
    except (ValueError, RecursionError):
        raise DataError(f"{path} holds a specification that is no JSON.", _AGAIN) from None
    except VQKitError as error:
        raise DataError(f"{path} holds a wrong specification. {error.message}", _AGAIN) from None


def check_digests(
    arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], path: Path, most_bytes: int = MOST_VERIFIED
) -> None:
    """Raise `DataError` for an array of a packed file that is not as it was written, unless it has more than `most_bytes`.

    Files of earlier versions hold no digests.
    """
    if CONTENTS_KEY not in metadata:
        return
    try:
        digests = json.loads(metadata[CONTENTS_KEY])
    except (ValueError, RecursionError):
        digests = None
    if not isinstance(digests, dict) or digests.keys() != arrays.keys():
        raise DataError(f"{path} was changed after it was written: its arrays are not those that its digests name.", _AGAIN)
    for name, array in arrays.items():
        if array.nbytes <= most_bytes and hashlib.sha256(np.ascontiguousarray(array).data).hexdigest() != digests[name]:
            raise DataError(f"{path} was changed after it was written: its {name} do not match their digest.", _AGAIN)


def check_contents(spec: DataSpec, contents: Mapping[str, StoredSplit], path: Path) -> None:
    """Raise `DataError` unless the arrays of a packed file are those that its specification describes."""
    for name, split in contents.items():
        count, channels, height, width = split.images.shape
        fits = (
            channels == len(spec.components)
            and spec.height <= height
            and spec.width <= width
            and split.images.dtype == spec.stored_dtype
            and split.conditions.shape == (count, len(spec.conditions))
            and int(split.labels.max()) < max(1, len(spec.classes))
        )
        if not fits:
            raise DataError(f"The arrays for {name} in {path} are not those that its specification describes.", _AGAIN)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _at_rest(split: Split) -> Split:
    """A split without anything random. Of joined parts, whose images may differ in size, tiles."""
    if isinstance(split, JoinedSplit):
        return JoinedSplit(
            split.spec, [each.at_rest(whole=False) if isinstance(each, TiledSplit) else each for each in split.parts]
        )
    return split.at_rest() if isinstance(split, TiledSplit) else split


def _parts(name: str, split: Split) -> Iterator[_Part]:
    """The tensors of one split."""
    count, spec = len(split), split.spec
    if spec.classes:
        yield _Part(f"{name}_labels", torch.int64, (count,), lambda batch: batch.labels)
    if spec.conditions:
        yield _Part(f"{name}_conditions", torch.float32, (count, len(spec.conditions)), lambda batch: batch.conditions)
    first = split.batch(torch.arange(1))
    yield _Part(f"{name}_images", spec.stored_dtype, (count, *first.images.shape[1:]), lambda batch: batch.images)
    if first.present is not None:
        yield _presence(name, count, first.present.shape[1:], first.images.shape[1:])
    text = _text(split.names(torch.arange(count)))
    yield _Part(f"{name}_names", torch.uint8, (len(text),), text)


def _presence(name: str, count: int, present: torch.Size, images: torch.Size) -> _Part:
    """What is present, of the shape `present` in each image of the shape `images`: by component, or by pixel."""
    components, height, width = images
    if present[1:] == (1, 1):
        return _Part(
            f"{name}_present", torch.bool, (count, components), lambda batch: _expanded(batch, (components, 1, 1))[..., 0, 0]
        )
    shape = (present[0], height, width)
    bits = (count, present[0], height, -(-width // 8))
    return _Part(f"{name}_present_bits", torch.uint8, bits, lambda batch: pack_bits(_expanded(batch, shape)))


def _expanded(batch: Batch, shape: tuple[int, ...]) -> Tensor:
    assert batch.present is not None, "what is present is said of every batch of a split, or of none"
    return batch.present.expand(-1, *shape)


def _layout(parts: list[_Part], spec: DataSpec, digests: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """The header of the file with the `digests` of all parts, and where each part begins in it."""
    widest_first = sorted(parts, key=lambda part: -part.dtype.itemsize)
    described = json.dumps(spec.to_json())
    said = {FORMAT_KEY: FORMAT, SPEC_KEY: described, DIGEST_KEY: _digest(described), CONTENTS_KEY: json.dumps(dict(digests))}
    return safetensors_header([StoredTensor(part.name, part.dtype, part.shape) for part in widest_first], said)


def _write_split(file: IO[bytes], split: Split, parts: list[_Part], starts: Mapping[str, int]) -> dict[str, str]:
    """Write all tensors of a split side by side, so that its images are read only once; returns their digests by name."""
    ends = {part.name: starts[part.name] for part in parts}
    states = {part.name: hashlib.sha256() for part in parts}

    def write(part: _Part, rows: Tensor) -> None:
        content = rows.to(part.dtype).contiguous().numpy().tobytes()
        states[part.name].update(content)
        file.seek(ends[part.name])
        ends[part.name] += file.write(content)

    for part in parts:
        if isinstance(part.content, Tensor):
            write(part, part.content)
    for indices in torch.split(torch.arange(len(split)), _BATCH):
        batch = split.batch(indices)
        for part in parts:
            if not isinstance(part.content, Tensor):
                write(part, part.content(batch))
    return {name: state.hexdigest() for name, state in states.items()}


def _text(names: list[str]) -> Tensor:
    return torch.frombuffer(bytearray("\n".join(names).encode()), dtype=torch.uint8)
