"""Sampling of codes from logits: guidance, temperature, top-k, top-p, and noise that depends on the seed and the sample only.

A code is drawn by the Gumbel-max trick, argmax(logits + G) with G standard Gumbel noise (Gumbel 1954; Maddison et al. 2014), so
that a sample is a function of its noise: the same with or without caches, alone or in a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.interfaces.priors import Sampling


def gumbel_noise(seed: int, level: int, first: int, count: int, positions: int, num_codes: int) -> Tensor:
    """Standard Gumbel noise float32 [count, positions, num_codes] of the samples numbered `first`, `first` + 1, ...

    A function of (seed, level, number) alone.
    """
    uniform = torch.empty(count, positions, num_codes)
    for number, row in enumerate(uniform, start=first):
        row.uniform_(1e-10, 1, generator=generator_for(seed, "codes", level, number))
    return uniform.log_().neg_().log_().neg_()


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance on logits."""
    return unconditional + scale * (conditional - unconditional)


def choose(logits: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """Sample codes int64 [...] of one level from its guided logits [..., K] with Gumbel noise [..., K]."""
    assert not isinstance(sampling.temperature, tuple), "several temperatures: see Sampling.by_level"
    logits = logits.float() / sampling.temperature
    return (_allowed(logits, sampling) + noise).argmax(dim=-1)


def _allowed(logits: Tensor, sampling: Sampling) -> Tensor:
    """The logits with minus infinity for codes that `top_k` and `top_p` exclude; the most probable code is never excluded."""
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        kept = logits.topk(sampling.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        beyond = probabilities.cumsum(dim=-1) - probabilities >= sampling.top_p
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
    return logits
