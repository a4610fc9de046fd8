"""Codes of a batch of images, coded with a prior, and read back.

Shapes: B images, n codes of each that are coded together, K possible ones, h x w the grid of a level.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqkit.inference.codec.code_walk import walk_codes
from vqkit.inference.codec.probabilities import counts_of_logits
from vqkit.inference.codec.range_coding import SymbolCoder
from vqkit.interfaces import Codes, Prior

DIGEST_BYTES = 8
"""Length of the digests by which a batch is recognised: chance passes one in 2^64 wrong batches."""


def write_codes(prior: Prior, codes: Codes, draw_steps: int | None, coder: SymbolCoder) -> None:
    """Code the codes int64 [B, h, w] of each level; `draw_steps`: see `walk_codes`."""
    flat = [level.flatten(1).cpu() for level in codes]

    def step(level: int, positions: Tensor, logits: Tensor) -> Tensor:
        given = flat[level][:, positions]
        coder.code(counts_of_logits(_rows(logits)), given.flatten().numpy())
        return given.to(logits.device)

    walk_codes(prior, len(flat[0]), draw_steps, step)


def read_codes(prior: Prior, count: int, draw_steps: int | None, coder: SymbolCoder) -> Codes:
    """The codes of `count` images, on the CPU: the inverse of `write_codes`. Raises `DamagedStreamError`, if it notices."""

    def step(level: int, positions: Tensor, logits: Tensor) -> Tensor:
        del level
        found = coder.code(counts_of_logits(_rows(logits)), None)
        return torch.from_numpy(found).to(logits.device, torch.int64).view(count, len(positions))

    return tuple(level.cpu() for level in walk_codes(prior, count, draw_steps, step))


def digest_of(*tensors: Tensor) -> bytes:
    """A digest of `DIGEST_BYTES` of integers: of their values, not of their type, in which they are small enough for int64."""
    state = hashlib.sha256()
    for tensor in tensors:
        state.update(np.ascontiguousarray(tensor.cpu().numpy().astype("<i8")).data)
    return state.digest()[:DIGEST_BYTES]


def _rows(logits: Tensor) -> NDArray[np.float32]:
    """Logits [B, n, K] as an array [B * n, K]."""
    return logits.flatten(0, 1).float().cpu().numpy()
