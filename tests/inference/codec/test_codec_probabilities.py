from __future__ import annotations

import numpy as np
import pytest

from painting import noise
from vqkit.errors import CheckpointError, ConfigError
from vqkit.inference.codec.probabilities import (
    MOST_SYMBOLS,
    TOTAL,
    check_alphabet,
    counts_of_logits,
    counts_of_shares,
    ideal_bits,
)


@pytest.mark.parametrize("symbols", [1, 2, 17, 512, 5000])
@pytest.mark.parametrize("spread", [0.0, 3.0, 1000.0])
def test_counts_are_at_least_one_sum_to_the_total_and_follow_the_softmax(symbols: int, spread: float) -> None:
    logits = noise(20, symbols, low=-spread, high=spread + 1e-9, dtype="float32")
    counts = counts_of_logits(logits)
    assert counts.shape == logits.shape and counts.min() >= 1 and (counts.sum(axis=1) == TOTAL).all()
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    # Each symbol is given 1 count beforehand and loses less than 1 by rounding; the likeliest gets what was rounded off.
    expected = exponentials / exponentials.sum(axis=1, keepdims=True) * (TOTAL - symbols) + 1
    assert np.abs(counts - expected).max() <= symbols + 1


def test_the_least_likely_symbol_has_the_least_count() -> None:
    assert counts_of_logits(np.array([[0.0, -1e30, 0.0]], np.float32)).min() == 1
    assert counts_of_shares(np.array([[1.0, 0.0]])).tolist() == [[TOTAL - 1, 1]]


def test_ideal_bits_are_those_of_the_counts() -> None:
    counts = np.array([[TOTAL // 4, TOTAL - TOTAL // 4], [1, TOTAL - 1]])
    assert ideal_bits(counts, np.array([0, 0])) == pytest.approx(2 + 24)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(broken: float) -> None:
    with pytest.raises(CheckpointError, match="probabilities that are no numbers"):
        counts_of_logits(np.array([[0.0, broken]], np.float32))


def test_too_many_codes_are_refused() -> None:
    check_alphabet(MOST_SYMBOLS, "codes")
    with pytest.raises(ConfigError, match=r"The level top has 1048577 codes"):
        check_alphabet(MOST_SYMBOLS + 1, "top")
