"""A batch of images as the bytes of one part of a compressed file, and back.

    8 bytes   digest of the codes
    8 bytes   digest of the images that the codes are decoded to        \\
    8 bytes   digest of the images                                       > only in lossless files
    4 bytes   length of the parameters of residuals, and these          /
    ...       one stream of the range coder: codes, then residuals

Probabilities follow from networks, whose rounding differs between processors and versions of torch. So another machine may read
other codes from the same bits. The digests notice: it refuses, and gives no wrong picture.

Shapes: B images, C components, H x W pixels, h x w the grid of a level.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import DataError
from vqkit.inference.codec.code_streams import DIGEST_BYTES, digest_of, read_codes, write_codes
from vqkit.inference.codec.code_walk import check_prior, reproducible
from vqkit.inference.codec.range_coding import DamagedStreamError, SymbolDecoder, SymbolEncoder
from vqkit.inference.codec.residuals import ResidualCodec, check_components
from vqkit.inference.pipeline import Pipeline
from vqkit.inference.postprocess import discretize, to_stored
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Codes

_LENGTH_BYTES = 4


class EncodedBatch(NamedTuple):
    """The bytes of a batch, how many of them are the stream, and the bits that codes and residuals in it stand for."""

    content: bytes
    stream_bytes: int
    code_bits: float
    residual_bits: float


class DecodedBatch(NamedTuple):
    """The images of a batch: `unit` values float32 and `stored` values [B, C, H, W], and the codes."""

    unit: Tensor
    stored: Tensor
    codes: Codes


class BatchCodec:
    """Batches in their order, of one file: with `lossless`, what is learned from one helps with the next.

    `draw_steps`: see `code_walk`. Raises `ConfigError` for a prior that cannot be used, and `DataError` for data that cannot be
    compressed without loss.
    """

    def __init__(self, sampler: Sampler, draw_steps: int | None, lossless: bool) -> None:
        check_prior(sampler.prior, draw_steps)
        self._prior, self._pipeline, self._draw_steps = sampler.prior, sampler.pipeline, draw_steps
        self._residuals: ResidualCodec | None = None
        if lossless:
            check_components(self._pipeline.spec)
            self._residuals = ResidualCodec(self._pipeline.spec)

    def encode(self, images: Tensor) -> EncodedBatch:
        """Stored images [B, C, H, W] without gaps."""
        codes = self._pipeline.encode_batch(images, torch.ones_like(images, dtype=torch.bool))
        coder = SymbolEncoder()
        write_codes(self._prior, codes, self._draw_steps, coder)
        code_bits, head = coder.bits, digest_of(*codes)
        if self._residuals is not None:
            guess = _reconstruct(self._pipeline, codes)
            parameters = self._residuals.encode(images, guess, coder)
            head += digest_of(guess) + digest_of(images) + len(parameters).to_bytes(_LENGTH_BYTES, "little") + parameters
        stream = coder.stream()
        return EncodedBatch(head + stream, len(stream), code_bits, coder.bits - code_bits)

    def decode(self, content: bytes, count: int, source: str) -> DecodedBatch:
        """The inverse of `encode`. Raises `DataError` naming `source` unless the images are those that were encoded."""
        spec = self._pipeline.spec
        head = _Reader(content, source)
        codes_digest = head.take(DIGEST_BYTES)
        guess_digest = images_digest = parameters = b""
        if self._residuals is not None:
            guess_digest, images_digest = head.take(DIGEST_BYTES), head.take(DIGEST_BYTES)
            parameters = head.take(int.from_bytes(head.take(_LENGTH_BYTES), "little"))
        try:
            coder = SymbolDecoder(head.rest())
            codes = read_codes(self._prior, count, self._draw_steps, coder)
            if digest_of(*codes) != codes_digest:
                raise DamagedStreamError
            if self._residuals is None:
                unit = discretize(self._pipeline.decode_batch(codes, spec.unknown_conditions(count)), spec)
                return DecodedBatch(unit, spec.from_unit(unit), codes)
            guess = _reconstruct(self._pipeline, codes)
            if digest_of(guess) != guess_digest:
                raise DamagedStreamError
            stored = self._residuals.decode(guess, coder, parameters)
            if digest_of(stored) != images_digest:
                raise DamagedStreamError
        except DamagedStreamError:
            raise _other_arithmetic(source) from None
        return DecodedBatch(spec.to_unit(stored), stored, codes)


class _Reader:
    """The bytes of a part, taken from the front; raises `DataError` where there are fewer than are asked for."""

    def __init__(self, content: bytes, source: str) -> None:
        self._content, self._at, self._source = content, 0, source

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self._content) - self._at:
            raise DataError(f"{self._source} is damaged: a batch of images ends too early.", "Compress the images again.")
        self._at += count
        return self._content[self._at - count : self._at]

    def rest(self) -> bytes:
        """All that was not taken."""
        return self._content[self._at :]


def _reconstruct(pipeline: Pipeline, codes: Codes) -> Tensor:
    """Stored images [B, C, H, W] of codes and no conditions, the same on one machine each time."""
    with reproducible(pipeline.device):
        return to_stored(pipeline.decode_batch(codes, pipeline.spec.unknown_conditions(len(codes[0]))), pipeline.spec)


def _other_arithmetic(source: str) -> DataError:
    return DataError(
        f"{source} cannot be decompressed here: the models compute other probabilities than where it was compressed.",
        "Decompress it on a machine of that kind, with the same versions of torch and vqkit, or compress the images anew.",
    )
