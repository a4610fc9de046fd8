"""Which codes a tokenizer has: shapes, numbers, and the smallest type that holds them."""

from __future__ import annotations

import torch

from vqkit.errors import CheckpointError
from vqkit.interfaces import Codes, Tokenizer


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
