"""Sampling of codes from logits: guidance, temperature, top-k, top-p, and noise that depends on the seed and the sample only.

A code is drawn by the Gumbel-max trick, argmax(logits + G) with G standard Gumbel noise (Gumbel 1954; Maddison et al. 2014), so
that a sample is a function of its noise: the same with or without caches, alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for
from vqkit.errors import ConfigError
from vqkit.interfaces import Codes, Conditioning, Prior
from vqkit.interfaces.priors import Advance, Sampling


def gumbel_noise(seed: int, level: int, first: int, count: int, positions: int, num_codes: int) -> Tensor:
    """Standard Gumbel noise float32 [count, positions, num_codes] of the samples numbered `first`, `first` + 1, ...

    A function of (seed, level, number) alone.
    """
    uniform = torch.empty(count, positions, num_codes)
    for number, row in enumerate(uniform, start=first):
        row.uniform_(1e-10, 1, generator=generator_for(seed, "codes", level, number))
    return uniform.log_().neg_().log_().neg_()


def conditioning_of(prior: Prior, batch_size: int, conditioning: Conditioning | None) -> Conditioning:
    """The conditioning of `batch_size` samples, by default none. Raises `ConfigError` for another number of rows."""
    given = conditioning or Conditioning.unconditional(batch_size, prior.spec, next(prior.parameters()).device)
    if len(given.dropped) != batch_size:
        raise ConfigError(
            f"{batch_size} samples were requested, but the conditioning has {len(given.dropped)} rows.", "Give one row per sample."
        )
    return given


def is_guided(conditioning: Conditioning, sampling: Sampling) -> bool:
    """Whether guidance changes anything."""
    return sampling.guidance_scale != 1 and not bool(conditioning.dropped.all())


def with_unconditional(conditioning: Conditioning, codes: Codes) -> tuple[Conditioning, Codes]:
    """A batch twice, as it is and with all conditions dropped, so that one pass computes both for guidance."""
    unconditional = conditioning._replace(dropped=torch.ones_like(conditioning.dropped))
    return join(conditioning, unconditional), tuple(torch.cat([level, level]) for level in codes)


def join(first: Conditioning, second: Conditioning) -> Conditioning:
    """The conditioning of two batches, concatenated."""
    maps = tuple(torch.cat(pair) for pair in zip(first.observed, second.observed, strict=True))
    return Conditioning(
        torch.cat([first.values, second.values]),
        torch.cat([first.labels, second.labels]),
        maps,
        torch.cat([first.dropped, second.dropped]),
    )


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


@contextmanager
def evaluating(prior: Prior) -> Iterator[None]:
    """A context in which the prior is in evaluation mode, without dropout."""
    training = prior.training
    prior.eval()
    try:
        yield
    finally:
        prior.train(training)


def advance_part(advance: Advance | None, share: float, done: float) -> None:
    """Report progress in a part of the work that is a `share` of it, if anybody listens."""
    if advance is not None:
        advance(share * done)
