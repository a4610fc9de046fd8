"""Probabilities as whole numbers, so that whoever encodes and whoever decodes divide the range of the coder alike.

A distribution over K symbols is K counts of at least 1 that sum to 2^24: every symbol can be coded, the rarest at 24 bits.

Shapes: n symbols to be coded, K possible ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.errors import CheckpointError, ConfigError

PRECISION = 24
"""Bits of a probability."""
TOTAL = 2**PRECISION
MOST_SYMBOLS = 2**20
"""Largest K: the least count of each symbol takes a sixteenth of the range at most."""

Counts = NDArray[np.int64]


def counts_of_logits(logits: NDArray[Any]) -> Counts:
    """The softmax of logits [n, K] as counts: each 1 and its share of the rest, rounded down; the likeliest gets what is left.

    Raises `CheckpointError` for logits that are no numbers, which only a broken model gives.
    """
    values = logits.astype(np.float64)
    highest = values.max(axis=1, keepdims=True)
    if not np.isfinite(highest).all():
        raise CheckpointError("The prior gives probabilities that are no numbers.", "Its training has diverged: use another run.")
    exponentials = np.exp(values - highest)
    return counts_of_shares(exponentials / exponentials.sum(axis=1, keepdims=True))


def counts_of_shares(shares: NDArray[np.float64]) -> Counts:
    """Probabilities [n, K], each row of which sums to 1, as counts; see `counts_of_logits`."""
    free = TOTAL - shares.shape[1]
    counts = np.floor(shares * free).astype(np.int64)
    rows = np.arange(len(counts))
    counts[rows, shares.argmax(axis=1)] += free - counts.sum(axis=1)
    return counts + 1


def ideal_bits(counts: Counts, symbols: NDArray[Any]) -> float:
    """What the symbols [n] cost under the counts [n, K], bits."""
    chosen = counts[np.arange(len(symbols)), symbols]
    return float(PRECISION * len(symbols) - np.log2(chosen).sum())


def check_alphabet(symbols: int, name: str) -> None:
    """Raise `ConfigError` if there are too many symbols for the precision of probabilities."""
    if symbols > MOST_SYMBOLS:
        raise ConfigError(
            f"The level {name} has {symbols} codes; compressed files hold codes of which there are at most {MOST_SYMBOLS}.",
            "Train a tokenizer with a smaller codebook, or one of several levels.",
        )
