"""Random draws that depend on nothing but their key.

Every draw of a training run comes from a generator made from (seed, purpose, step). So a resumed run draws what the
uninterrupted one would have drawn, without any state to save, and every process draws the same.
"""

from __future__ import annotations

import hashlib

import torch


def generator_for(*key: int | str) -> torch.Generator:
    """A CPU generator whose draws are a function of the key alone."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))
