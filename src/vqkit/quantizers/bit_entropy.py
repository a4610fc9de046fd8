"""Entropies of distributions over K = 2^D codes with independent bits, without an [N, K] matrix of probabilities.

A softmax over `2 z . c / t`, where c runs over all sign vectors, factorises over the bits: bit i is one with probability
`sigmoid(4 z_i / t)`. Therefore, exactly,

- the entropy of one distribution is the sum of the entropies of its D bits;
- the mean probabilities of all codes are one matrix product of the probabilities of the upper half of the bits, [N, 2^(D/2)], and
  those of the lower half. It is computed for a few rows at a time, and recomputed in the backward pass, so that memory holds K
  numbers and, for these rows, 2 x 2^(D/2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_PROBABILITIES = 2**20
"""Number of probabilities of halves of the bits in memory at once: 4 MB."""


def mean_code_entropy(logits: Tensor) -> Tensor:
    """Mean entropy in nats, float32 [], of N distributions with independent bits, given as log-odds float32 [N, D]."""
    size = logits.abs()
    # The entropy of a bit is even in its log-odds x. Evaluated at -|x|, both terms are positive, so that nothing cancels.
    return (F.softplus(-size) + size * torch.sigmoid(-size)).sum(dim=1).mean()


def mean_code_probabilities(logits: Tensor) -> Tensor:
    """Mean probability of each code, float32 [2^D], over N distributions with independent bits, given as log-odds float32 [N, D].

    Bit i, that of channel i, has the value 2^i in the index of a code.
    """
    rows = max(1, CHUNK_PROBABILITIES >> (logits.shape[1] + 1) // 2)
    total = logits.new_zeros(2 ** logits.shape[1])
    for chunk in torch.split(logits, rows):
        total = total + checkpoint(_sum_of_probabilities, chunk, use_reentrant=False, preserve_rng_state=False)
    return total / len(logits)


def negative_entropy(probabilities: Tensor) -> Tensor:
    """Negative entropy in nats of probabilities float32 [K]; its gradient is finite where a probability is zero."""
    return (probabilities * probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()).sum()


def _sum_of_probabilities(logits: Tensor) -> Tensor:
    """Sum over the rows of the probability of each code: float32 [N, D] to [2^D]."""
    middle = logits.shape[1] // 2
    lower, upper = _probabilities(logits[:, :middle]), _probabilities(logits[:, middle:])
    return (upper.T @ lower).flatten()


def _probabilities(logits: Tensor) -> Tensor:
    """Probability of each combination of bits in each row: log-odds float32 [N, D] to [N, 2^D]."""
    joint = logits.new_ones(len(logits), 1)
    for bit in logits.unbind(1):
        odds = bit[:, None]
        joint = torch.cat([joint * torch.sigmoid(-odds), joint * torch.sigmoid(odds)], dim=1)
    return joint
