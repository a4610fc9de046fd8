"""A range coder: symbols to bits and back, each with the counts of `vqkit.inference.codec.probabilities`.

Both directions have one interface, so that one function walks through an image to encode and to decode it, and computes the same
probabilities in both. The coder itself is that of the package constriction (Bamler 2022, "Understanding Entropy Coding With
Asymmetric Numeral Systems (ANS): a Statistician's Perspective", arXiv 2201.01741); it is optional and imported late.

Shapes: n symbols that are coded together, K possible ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqkit.core.optional_packages import optional_package
from vqkit.inference.codec.probabilities import Counts, ideal_bits

_WORD = np.dtype("<u4")

Symbols = NDArray[np.int32]


class DamagedStreamError(Exception):
    """A stream that this coder cannot have written with the probabilities that it is read with."""


def load_constriction() -> ModuleType:
    """The package constriction. Raises `DataError` that names the extra if it is not installed."""
    return optional_package("constriction", "codec", "Compressed files are written and read")


class SymbolCoder(ABC):
    """Codes symbols: takes them and returns them, or reads and returns them."""

    @abstractmethod
    def code(self, counts: Counts, symbols: NDArray[Any] | None) -> Symbols:
        """Symbols int32 [n] that have the counts [n, K]; those that are given are None for one who reads."""

    @abstractmethod
    def code_uniform(self, sizes: NDArray[Any], symbols: NDArray[Any] | None) -> Symbols:
        """Symbols int32 [n] that are all equally likely, from 0 to below `sizes` [n], each of which is less than 2^24."""


class SymbolEncoder(SymbolCoder):
    """Writes symbols. `bits`: what they cost under their probabilities."""

    def __init__(self) -> None:
        stream = load_constriction().stream
        self._coder = stream.queue.RangeEncoder()
        self._categorical, self._uniform = stream.model.Categorical(perfect=False), stream.model.Uniform()
        self.bits = 0.0

    def code(self, counts: Counts, symbols: NDArray[Any] | None) -> Symbols:
        """See `SymbolCoder.code`."""
        assert symbols is not None, "the symbols to write"
        given = symbols.astype(np.int32)
        if len(given) and counts.shape[1] > 1:
            self._coder.encode(given, self._categorical, _weights(counts))
            self.bits += ideal_bits(counts, given)
        return given

    def code_uniform(self, sizes: NDArray[Any], symbols: NDArray[Any] | None) -> Symbols:
        """See `SymbolCoder.code_uniform`."""
        assert symbols is not None, "the symbols to write"
        several = sizes > 1
        if several.any():
            self._coder.encode(symbols[several].astype(np.int32), self._uniform, sizes[several].astype(np.int32))
            self.bits += float(np.log2(sizes[several].astype(np.float64)).sum())
        return symbols.astype(np.int32)

    def stream(self) -> bytes:
        """What was written, a few bits more than `bits`."""
        words: NDArray[np.uint32] = self._coder.get_compressed()
        return words.astype(_WORD).tobytes()


class SymbolDecoder(SymbolCoder):
    """Reads symbols from a stream. Raises `DamagedStreamError` where that cannot be, which not every damage makes it."""

    def __init__(self, stream: bytes) -> None:
        constriction = load_constriction().stream
        if len(stream) % _WORD.itemsize:
            raise DamagedStreamError
        self._coder = constriction.queue.RangeDecoder(np.frombuffer(stream, _WORD).astype(np.uint32))
        self._categorical, self._uniform = constriction.model.Categorical(perfect=False), constriction.model.Uniform()

    def code(self, counts: Counts, symbols: NDArray[Any] | None) -> Symbols:
        """See `SymbolCoder.code`."""
        del symbols
        if not len(counts) or counts.shape[1] == 1:
            return np.zeros(len(counts), np.int32)
        return self._read(self._categorical, _weights(counts))

    def code_uniform(self, sizes: NDArray[Any], symbols: NDArray[Any] | None) -> Symbols:
        """See `SymbolCoder.code_uniform`."""
        del symbols
        several = sizes > 1
        found = np.zeros(len(sizes), np.int32)
        if several.any():
            found[several] = self._read(self._uniform, sizes[several].astype(np.int32))
        return found

    def _read(self, *model: Any) -> Symbols:
        try:
            found: Symbols = self._coder.decode(*model)
        except (AssertionError, ValueError, KeyError):  # what constriction raises for impossible bits
            raise DamagedStreamError from None
        return found


def _weights(counts: Counts) -> NDArray[np.float32]:
    """Weights [n, K] of which constriction makes exactly these counts: it gives each symbol 1 and divides the rest by weight."""
    return (counts - 1).astype(np.float32)
