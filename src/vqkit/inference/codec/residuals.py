"""What images differ by from the images that their codes are decoded to: coded component by component, without loss.

Shapes: B images, C components, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vqkit.errors import DataError
from vqkit.inference.codec.binary_residuals import BinaryResiduals
from vqkit.inference.codec.integer_residuals import Component, IntegerResiduals, Integers, Parameters
from vqkit.inference.codec.range_coding import DamagedStreamError, SymbolCoder
from vqkit.interfaces import DataSpec

_TYPES = ("uint8", "int8", "uint16", "int16")


def check_components(spec: DataSpec) -> None:
    """Raise `DataError` for components whose values are no whole numbers of at most 16 bits."""
    for each in spec.component_specs:
        if each.dtype not in _TYPES:
            raise DataError(
                f"The component {each.name} holds values of type {each.dtype}; --lossless is for whole numbers of 8 or 16 bits.",
                "Leave --lossless out, or compress such files with a program for floating point numbers.",
            )


class ResidualCodec:
    """Codes the residuals of batches in their order: shapes learn from all batches before."""

    def __init__(self, spec: DataSpec) -> None:
        self._spec = spec
        self._integers = IntegerResiduals(spec.height, spec.width)
        self._shapes = [
            BinaryResiduals(spec.height, spec.width) if each.kind == "binary" else None for each in spec.component_specs
        ]

    def encode(self, images: Tensor, guess: Tensor, coder: SymbolCoder) -> bytes:
        """Code stored images [B, C, H, W], given what their codes are decoded to; return the parameters to be stored.

        Raises `DataError` for a binary component with other values than its two.
        """
        parameters: list[bytes] = []
        self._code(images, guess, coder, parameters)
        return b"".join(parameters)

    def decode(self, guess: Tensor, coder: SymbolCoder, parameters: bytes) -> Tensor:
        """The images of which `encode` returned the parameters. Raises `DamagedStreamError`, if it notices."""
        return self._code(None, guess, coder, [parameters])

    def _code(self, images: Tensor | None, guess: Tensor, coder: SymbolCoder, parameters: list[bytes]) -> Tensor:
        """The images; those that are given are None for one who reads, whose parameters are the first of the list."""
        guessed = guess.numpy().astype(np.int64)
        given = None if images is None else images.numpy().astype(np.int64)
        found = np.zeros_like(guessed)
        occupied = np.zeros(guessed[:, 0].shape, bool)
        before: list[Component] = []
        for number, (each, shapes) in enumerate(zip(self._spec.component_specs, self._shapes, strict=True)):
            values = None if given is None else given[:, number]
            if shapes is None:
                settings, parameters[:] = self._parameters(values, guessed[:, number], before, parameters)
                before.append(self._integers.code(guessed[:, number], before, settings, coder, values))
                found[:, number] = before[-1].values
                continue
            low, high = int(each.low), int(each.high)
            if values is not None and not ((values == low) | (values == high)).all():
                raise DataError(
                    f"The component {each.name} holds values other than {low} and {high}.",
                    "Compress it without --lossless, or train on it as intensities: --set data.value_kind=intensity",
                )
            shape = shapes.code(guessed[:, number] == high, occupied, coder, None if values is None else values == high)
            occupied |= shape
            found[:, number] = np.where(shape, high, low)
        if given is None and parameters != [b""]:
            raise DamagedStreamError
        return torch.from_numpy(found).to(guess.dtype)

    def _parameters(
        self,
        values: Integers | None,
        guess: Integers,
        before: list[Component],
        parameters: list[bytes],
    ) -> tuple[Parameters, list[bytes]]:
        """The parameters of the next component, and the list with them added (to encode) or taken off."""
        if values is not None:
            fitted = self._integers.fit(values, guess, before)
            return fitted, [*parameters, fitted.pack()]
        settings, rest = Parameters.unpack(parameters[0], len(before))
        return settings, [rest]
