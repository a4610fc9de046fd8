"""Files of codes: what a tokenizer made of many images, small enough to keep and exact enough to decode.

A codes file is a safetensors file. For each level, coarse first, it holds `level_0`, `level_1`, ... [N, h, w] in the smallest
integer type that fits, and, where they are known, `labels` int32 [N] (-1: no class) and `conditions` float32 [N, D] (NaN: unknown).
Its header names the images, the grids, the numbers of codes, and the digest of the tokenizer, which alone can decode it. A large
set of images may be encoded in shards, each a codes file, with an index that joins them (`vqkit.core.shard_records`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core.shard_records import check_digest, is_index, read_index
from vqkit.errors import CheckpointError
from vqkit.interfaces import Codes, Tokenizer
from vqkit.interfaces.names import shown, wrong_name
from vqkit.storage.checkpoints import HeaderError, read_tensors
from vqkit.storage.code_writing import EncodedPart, codes_writer
from vqkit.storage.headers import check_header

INDEX_KIND = "codes"
"""The kind of an index of codes files."""

_HINT = "It was edited; encode the images again."
_CODE_TYPES = (torch.uint8, torch.int16, torch.int32)


class CodesFile(NamedTuple):
    """The content of a codes file.

    `codes`: each level int [N, h, w], as read from a file in the smallest type that holds them; `names`: one for each image;
    `labels` int64 [N], -1 where there is no class; `conditions` float32 [N, D], NaN where unknown; `tokenizer`: digest of the model
    that made them; `class_names`: may be empty.
    """

    codes: Codes
    names: tuple[str, ...]
    labels: Tensor
    conditions: Tensor
    tokenizer: str
    class_names: tuple[str, ...] = ()

    def part(self, images: slice) -> Codes:
        """The codes of some images, int64 [B, h, w] of each level, as models take them."""
        return tuple(level[images].to(torch.int64) for level in self.codes)


def write_codes(path: Path, content: CodesFile, tokenizer: Tokenizer) -> None:
    """Write a codes file, atomically.

    Raises `CheckpointError` unless the codes are this tokenizer's, and `OSError` when the file cannot be written.
    """
    with codes_writer(path, tokenizer, content.tokenizer, content.class_names) as writer:
        writer.add(EncodedPart(content.codes, content.names, content.labels, content.conditions))


def read_codes(path: Path) -> CodesFile:
    """Read a codes file, or all that the index of shards names, one after the other.

    Raises `CheckpointError` when it is missing, broken, or something else, and `DataError` for an index whose shards are not there
    as they were made.
    """
    if not is_index(path):
        content = _read_file(path)
        if not content.names:
            raise CheckpointError(f"{path} holds no codes.", "It is a shard without images; name the index that joins the shards.")
        return content
    index = read_index(path, INDEX_KIND)
    parts = [_read_file(check_digest(index, number)) for number in range(len(index.shards))]
    for file, part in zip(index.files(), parts, strict=True):
        alike = part.tokenizer == parts[0].tokenizer and part.class_names == parts[0].class_names
        if not alike or [level.shape[1:] for level in part.codes] != [level.shape[1:] for level in parts[0].codes]:
            raise CheckpointError(f"{file} was not made by the tokenizer of the other shards of {path}.", "Make the shards again.")
    codes, names, labels, conditions, *_ = zip(*parts, strict=True)
    if not any(names):
        raise CheckpointError(f"The shards of {path} hold no images.", "Encode some.")
    joined = tuple(torch.cat(level) for level in zip(*codes, strict=True))
    together = tuple(name for part in names for name in part)
    return CodesFile(joined, together, torch.cat(labels), torch.cat(conditions), parts[0].tokenizer, parts[0].class_names)


def _read_file(path: Path) -> CodesFile:
    if not path.is_file():
        raise CheckpointError(f"There is no file of codes at {path}.", "Write one with: vqkit encode INPUT --out codes.safetensors")
    try:
        tensors, header = read_tensors(path, torch.device("cpu"))
    except HeaderError:
        raise CheckpointError(
            f"{path} is not a file of codes, or not a whole one.", "Give a file written by vqkit encode."
        ) from None
    if header.get("kind") != "codes":
        raise CheckpointError(
            f"{path} holds a {header.get('kind')}, not codes.", "Write codes with: vqkit encode INPUT --out codes.safetensors"
        )
    check_header(header, path)
    try:
        _check_tensors(tensors, header["cardinalities"], path)
        _check_names(header["names"], tensors["level_0"], path)
        return CodesFile(
            tuple(tensors[f"level_{number}"] for number in range(len(header["cardinalities"]))),
            tuple(header["names"]),
            tensors["labels"].to(torch.int64),
            tensors["conditions"],
            header["tokenizer"],
            tuple(header["class_names"]),
        )
    except KeyError as error:
        raise CheckpointError(f"The file of codes {path} lacks {error}.", _HINT) from None


def _check_names(names: list[str], level: Tensor, path: Path) -> None:
    """Refuse names that are too many or too few, or that would lead out of the directory that images are written to."""
    if len(names) != len(level):
        raise CheckpointError(f"{path} has {len(names)} names for {len(level)} images.", _HINT)
    for name in names:
        fault = wrong_name(name)
        if fault is not None:
            raise CheckpointError(f"{path} names an image {shown(name)}, which {fault}.", _HINT)


def _check_tensors(tensors: Mapping[str, Tensor], cardinalities: Sequence[int], path: Path) -> None:
    """Refuse tensors of other types and shapes than `write_codes` gives them, and codes that there are not."""
    levels = [tensors[f"level_{number}"] for number in range(len(cardinalities))]
    labels, conditions = tensors["labels"], tensors["conditions"]
    fits = (
        all(level.ndim == 3 and level.dtype in _CODE_TYPES and level.shape[1:].numel() for level in levels)
        and labels.ndim == 1
        and labels.dtype == torch.int32
        and conditions.ndim == 2
        and conditions.dtype == torch.float32
        and len({len(each) for each in (*levels, labels, conditions)}) == 1
    )
    ranges = ((level, size) for level, size in zip(levels, cardinalities, strict=True) if level.numel())
    if not fits or any(int(level.min()) < 0 or int(level.max()) >= size for level, size in ranges):
        raise CheckpointError(f"{path} holds codes that its header does not allow.", _HINT)


def check_tokenizer(content: CodesFile, digest: str, path: Path, model: Path) -> None:
    """Raise `CheckpointError` unless the tokenizer with this digest made the codes."""
    if content.tokenizer != digest:
        raise CheckpointError(
            f"The codes in {path} were made by the tokenizer {content.tokenizer[:12]}, not by {digest[:12]} in {model}.",
            "Name the run that encoded them with --run.",
        )
