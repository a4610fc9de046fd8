"""Entropies of choices among K = 2^D codes whose bits are drawn one by one, without a probability for each feature and code.

A softmax over `2 z . c / t`, with c over all signs, is a product over the bits: bit i is one with probability
`sigmoid(4 z_i / t)`. So, exactly,

- the entropy of one choice is the sum of the entropies of its D bits;
- the mean probability of a code is an entry of one matrix product: the probabilities of the upper half of the bits, [N, 2^(D/2)],
  against those of the lower half. This is done for a few rows at a time, and again for the gradient, so that what is held at once
  is K numbers and, for a few rows, 2 x 2^(D/2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

CHUNK_PROBABILITIES = 2**20
"""Probabilities of half codes held at once, 4 MB."""


def mean_code_entropy(logits: Tensor) -> Tensor:
    """Mean over the rows of the entropy in nats of a row's choice, float32 [], of the log-odds of bits, float32 [N, D]."""
    size = logits.abs()
    # The entropy of a bit with log-odds x is even in x; of minus its size all terms are positive, and none cancels another.
    return (F.softplus(-size) + size * torch.sigmoid(-size)).sum(dim=1).mean()


def mean_code_probabilities(logits: Tensor) -> Tensor:
    """Mean over the rows of the probability of each code, float32 [2^D], of the log-odds of bits, float32 [N, D].

    Bit i, of channel i, counts 2^i in the number of a code.
    """
    rows = max(1, CHUNK_PROBABILITIES >> (logits.shape[1] + 1) // 2)
    total = logits.new_zeros(2 ** logits.shape[1])
    for chunk in torch.split(logits, rows):
        total = total + checkpoint(_sum_of_probabilities, chunk, use_reentrant=False, preserve_rng_state=False)
    return total / len(logits)


def negative_entropy(probabilities: Tensor) -> Tensor:
    """Minus the entropy in nats of probabilities float32 [K], with a finite gradient where one is zero."""
    return (probabilities * probabilities.clamp_min(torch.finfo(torch.float32).tiny).log()).sum()


def _sum_of_probabilities(logits: Tensor) -> Tensor:
    """Sum over the rows of the probability of each code, float32 [2^D]."""
    middle = logits.shape[1] // 2
    lower, upper = _probabilities(logits[:, :middle]), _probabilities(logits[:, middle:])
    return (upper.T @ lower).flatten()


def _probabilities(logits: Tensor) -> Tensor:
    """The probability of each combination of the D bits of each row, float32 [N, 2^D]."""
    joint = logits.new_ones(len(logits), 1)
    for bit in logits.unbind(1):
        odds = bit[:, None]
        joint = torch.cat([joint * torch.sigmoid(-odds), joint * torch.sigmoid(odds)], dim=1)
    return joint
