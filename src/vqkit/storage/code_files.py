"""Files of codes: what a tokenizer made of many images, small enough to keep and exact enough to decode.

A codes file is a safetensors file. For each level, coarse first, it holds `level_0`, `level_1`, ... [N, h, w] in the smallest
integer type that fits, and, where they are known, `labels` int32 [N] (-1: no class) and `conditions` float32 [N, D] (NaN: unknown).
Its header names the images, the grids, the numbers of codes, and the digest of the tokenizer, which alone can decode it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import CheckpointError
from vqkit.interfaces import Codes, Tokenizer
from vqkit.interfaces.names import shown, wrong_name
from vqkit.storage.checkpoints import read_tensors, write_tensors
from vqkit.storage.headers import check_header

_HINT = "It was edited; encode the images again."
_CODE_TYPES = (torch.uint8, torch.int16, torch.int32)


class CodesFile(NamedTuple):
    """The content of a codes file.

    `codes`: each level int64 [N, h, w]; `names`: one for each image; `labels` int64 [N], -1 where there is no class;
    `conditions` float32 [N, D], NaN where unknown; `tokenizer`: digest of the model that made them; `class_names`: may be empty.
    """

    codes: Codes
    names: tuple[str, ...]
    labels: Tensor
    conditions: Tensor
    tokenizer: str
    class_names: tuple[str, ...] = ()


def write_codes(path: Path, content: CodesFile, tokenizer: Tokenizer) -> None:
    """Write a codes file, atomically.

    Raises `CheckpointError` unless the codes are this tokenizer's, and `OSError` when the file cannot be written.
    """
    check_codes(content.codes, tokenizer)
    tensors = {
        f"level_{number}": level.to(smallest_integer(size))
        for number, (level, size) in enumerate(zip(content.codes, tokenizer.cardinalities, strict=True))
    }
    tensors |= {"labels": content.labels.to(torch.int32), "conditions": content.conditions.to(torch.float32)}
    header = {
        "kind": "codes",
        "tokenizer": content.tokenizer,
        "levels": tokenizer.level_names,
        "grids": tokenizer.code_shapes,
        "cardinalities": tokenizer.cardinalities,
        "condition_names": tokenizer.spec.condition_names,
        "class_names": content.class_names,
        "names": content.names,
    }
    write_tensors(path, tensors, header)


def read_codes(path: Path) -> CodesFile:
    """Read a codes file. Raises `CheckpointError` when it is missing, broken, or something else."""
    if not path.is_file():
        raise CheckpointError(f"There is no file of codes at {path}.", "Write one with: vqkit encode INPUT --out codes.safetensors")
    tensors, header = read_tensors(path, torch.device("cpu"))
    if header.get("kind") != "codes":
        raise CheckpointError(
            f"{path} holds a {header.get('kind')}, not codes.", "Write codes with: vqkit encode INPUT --out codes.safetensors"
        )
    check_header(header, path)
    try:
        _check_tensors(tensors, header["cardinalities"], path)
        _check_names(header["names"], tensors["level_0"], path)
        return CodesFile(
            tuple(tensors[f"level_{number}"].to(torch.int64) for number in range(len(header["cardinalities"]))),
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
        all(level.ndim == 3 and level.dtype in _CODE_TYPES and level.numel() for level in levels)
        and labels.ndim == 1
        and labels.dtype == torch.int32
        and conditions.ndim == 2
        and conditions.dtype == torch.float32
        and len({len(each) for each in (*levels, labels, conditions)}) == 1
    )
    if not fits or any(int(level.min()) < 0 or int(level.max()) >= size for level, size in zip(levels, cardinalities, strict=True)):
        raise CheckpointError(f"{path} holds codes that its header does not allow.", _HINT)


def check_tokenizer(content: CodesFile, digest: str, path: Path, model: Path) -> None:
    """Raise `CheckpointError` unless the tokenizer with this digest made the codes."""
    if content.tokenizer != digest:
        raise CheckpointError(
            f"The codes in {path} were made by the tokenizer {content.tokenizer[:12]}, not by {digest[:12]} in {model}.",
            "Name the run that encoded them with --run.",
        )


def check_codes(codes: Codes, tokenizer: Tokenizer) -> None:
    """Raise `CheckpointError` unless the codes have the tokenizer's levels, grids and range."""
    expected = tokenizer.code_shapes
    given = [tuple(level.shape) for level in codes]
    fits = len(codes) == len(expected) and all(
        len(shape) == 3 and shape[1:] == grid and shape[0] == given[0][0] for shape, grid in zip(given, expected, strict=False)
    )
    if not fits:
        wanted = ", ".join(f"[B, {height}, {width}]" for height, width in expected)
        raise CheckpointError(
            f"The codes have the shapes {', '.join(str(list(shape)) for shape in given)}; the model's are {wanted}.",
            "Use codes that this model made.",
        )
    for name, level, size in zip(tokenizer.level_names, codes, tokenizer.cardinalities, strict=True):
        if level.numel() and (int(level.min()) < 0 or int(level.max()) >= size):
            raise CheckpointError(
                f"The level {name} has codes from {int(level.min())} to {int(level.max())}; the model's are 0 to {size - 1}.",
                "Use codes that this model made.",
            )


def smallest_integer(cardinality: int) -> torch.dtype:
    """The smallest integer type that holds the codes 0 ... `cardinality` - 1."""
    if cardinality <= 2**8:
        return torch.uint8
    return torch.int16 if cardinality <= 2**15 else torch.int32
