"""Random draws that depend on nothing but their key.

Every draw of a training run comes from a generator made from (seed, purpose, step). So a resumed run draws what the uninterrupted
one would have drawn, without any state to save, and every process draws the same.

`torch.Generator.manual_seed` accepts 64 bits, but the Mersenne Twister of the CPU uses the lower 32 only: among 300,000 generators,
some ten pairs would draw the same numbers. So the whole state of the twister, 624 words, is derived from the key here.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import torch

from vqkit.core import distributed

_BATCH_DRAWS: ContextVar[torch.Generator | None] = ContextVar("draws_for_a_batch", default=None)
_WORDS = 624
"""Words of 32 bits in the state of MT19937. torch saves each of them in 64 bits."""
_OFFSET = 24
"""Bytes before these words in a saved state: the seed (uint64), the draws left (int32), a flag (int32), the next word (uint64)."""


def generator_for(*key: int | str) -> torch.Generator:
    """A CPU generator whose draws are a function of the key alone. Its `initial_seed` has 64 bits of the key's hash."""
    content = key_bytes(8 + 4 * _WORDS, *key)
    state = bytearray(_fresh_state())
    state[:8] = int.from_bytes(content[:8], "little").to_bytes(8, sys.byteorder)
    np.frombuffer(state, "u8", _WORDS, _OFFSET)[:] = np.frombuffer(content, "<u4", _WORDS, 8)
    generator = torch.Generator()
    generator.set_state(torch.frombuffer(state, dtype=torch.uint8))
    return generator


def step_noise(count: int, shape: tuple[int, ...], generator: torch.Generator | None) -> torch.Tensor:
    """Standard normal noise float32 [count, *shape] for a training step, on the CPU; zeros without a generator.

    It is drawn for the `count` samples of every part of the batch and then cut, so that it does not depend on how the batch is
    shared by processes and passes.
    """
    if generator is None:
        return torch.zeros(count, *shape)
    drawn = torch.randn(count * distributed.parts(), *shape, generator=generator)
    return distributed.local_chunk(drawn)


@contextmanager
def batch_draws(generator: torch.Generator) -> Iterator[None]:
    """Within this block, `batch_generator` gives this generator, which must be the same in every process and pass."""
    token = _BATCH_DRAWS.set(generator)
    try:
        yield
    finally:
        _BATCH_DRAWS.reset(token)


def batch_generator() -> torch.Generator | None:
    """The generator of draws that belong to the batch of all processes and passes; None outside of training."""
    return _BATCH_DRAWS.get()


def seed_global_generators(*key: int | str) -> None:
    """Seed torch's global generators, of the CPU and of all other devices, from a key."""
    generator = generator_for(*key)
    torch.manual_seed(generator.initial_seed())
    torch.set_rng_state(generator.get_state())


def key_bytes(count: int, *key: int | str) -> bytes:
    """The first bytes of the key's hash (SHAKE-256), of which a generator's seed and state are made."""
    return hashlib.shake_256(repr(key).encode()).digest(count)


@functools.cache
def _fresh_state() -> bytes:
    """A saved state right after seeding, before any draw. Raises `RuntimeError` if torch lays it out in another way."""
    state = bytes(torch.Generator().manual_seed(1).get_state().numpy())
    words = np.frombuffer(state, "u8", _WORDS, _OFFSET)
    second = 1812433253 * (1 ^ (1 >> 30)) + 1  # Matsumoto and Nishimura (1998), initialisation by a seed
    if np.frombuffer(state, "u8", 1)[0] != 1 or (words[0], words[1]) != (1, second):
        raise RuntimeError(f"torch {torch.__version__} saves the state of its CPU generator in another layout than expected.")
    return state
