from __future__ import annotations

import sys

import numpy as np
import pytest

from painting import noise
from vqkit.errors import DataError
from vqkit.inference.codec.probabilities import TOTAL, counts_of_logits
from vqkit.inference.codec.range_coding import DamagedStreamError, SymbolDecoder, SymbolEncoder

COUNTS = counts_of_logits(noise(4000, 12, low=-3, high=3, dtype="float32"))
SYMBOLS = noise(4000, high=12, dtype="uint8", seed=1)


def test_symbols_come_back_and_cost_what_is_stated() -> None:
    encoder = SymbolEncoder()
    sizes = np.array([1, 2, 7, 2**24 - 1])
    for _ in range(2):
        assert np.array_equal(encoder.code(COUNTS, SYMBOLS), SYMBOLS)
        encoder.code_uniform(sizes, np.array([0, 1, 6, 2**23]))
    chosen = COUNTS[np.arange(len(SYMBOLS)), SYMBOLS] / TOTAL
    assert encoder.bits == pytest.approx(2 * (-np.log2(chosen).sum() + np.log2(sizes.astype(float)).sum()))
    stream = encoder.stream()
    assert encoder.bits <= 8 * len(stream) <= encoder.bits + 64
    decoder = SymbolDecoder(stream)
    for _ in range(2):
        assert np.array_equal(decoder.code(COUNTS, None), SYMBOLS)
        assert decoder.code_uniform(sizes, None).tolist() == [0, 1, 6, 2**23]


@pytest.mark.parametrize("symbols", [2, 3, 300])
def test_the_coder_divides_its_range_exactly_by_the_counts(symbols: int) -> None:
    """The first and the last place of every symbol: a range decoder's first words name the place directly."""
    counts = counts_of_logits(noise(1, symbols, low=-8, high=8, dtype="float32"))
    ends = np.cumsum(counts[0])
    for symbol, (start, stop) in enumerate(zip(ends - counts[0], ends, strict=True)):
        for place in (int(start), int(stop) - 1):
            point = place * (2**40 - 1)
            words = np.array([point >> 32, point & 0xFFFFFFFF], "<u4")
            assert SymbolDecoder(words.tobytes()).code(counts, None).tolist() == [symbol]


def test_a_symbol_that_is_sure_costs_nothing() -> None:
    encoder = SymbolEncoder()
    assert encoder.code(np.full((3, 1), TOTAL), np.zeros(3, int)).tolist() == [0, 0, 0]
    assert (encoder.bits, encoder.stream()) == (0.0, b"")
    assert SymbolDecoder(b"").code(np.full((3, 1), TOTAL), None).tolist() == [0, 0, 0]


def test_streams_of_half_words_and_impossible_ones_are_noticed() -> None:
    with pytest.raises(DamagedStreamError):
        SymbolDecoder(b"abc")
    with pytest.raises(DamagedStreamError):
        SymbolDecoder(b"\xff" * 12).code(COUNTS, None)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(DataError, match=r"package constriction, which is not installed\. pip install 'vqkit\[codec\]'"):
        SymbolEncoder()
