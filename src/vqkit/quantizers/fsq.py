"""Finite scalar quantization: rounding instead of a codebook (Mentzer et al. 2023, "Finite Scalar Quantization: VQ-VAE Made
Simple", section 3 and appendix A.1)."""

from __future__ import annotations

import math

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from vqkit.config import Settings
from vqkit.interfaces import Quantized, Quantizer
from vqkit.quantizers.straight_through import pass_through
from vqkit.registry import QUANTIZERS

MAX_CODES = 2**24
"""Largest K: the uses of every code are counted."""

MAX_LEVELS = 256
"""Largest number of levels of a channel, well below 1000, where `MARGIN` would span half a level and rounding would add one."""

MARGIN = 1e-3
"""Fraction by which the range of the tanh exceeds the outermost levels, so that these can be reached."""


class FSQOptions(Settings):
    """Settings of finite scalar quantization."""

    levels: tuple[int, ...] = Field(
        (8, 5, 5, 5),
        min_length=1,
        description="Levels of each channel, 3 to 256; K is their product, D the number of channels.",
    )
    num_codes: int | None = Field(None, description="Optional: K, checked against the product of the levels.")

    @field_validator("levels")
    @classmethod
    def _large_enough(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if min(levels) < 3:
            raise ValueError(f"a channel needs at least 3 levels, not {min(levels)}; for 2 use the quantizer lfq")
        if max(levels) > MAX_LEVELS:
            raise ValueError(f"a channel has at most {MAX_LEVELS} levels, not {max(levels)}; use more channels")
        if math.prod(levels) > MAX_CODES:
            raise ValueError(f"{_product(levels)} codes are more than {MAX_CODES}")
        return levels

    @field_validator("num_codes")
    @classmethod
    def _product_of_the_levels(cls, num_codes: int | None, info: ValidationInfo) -> int | None:
        levels = info.data.get("levels")
        if num_codes is not None and levels is not None and num_codes != math.prod(levels):
            raise ValueError(f"the levels give {_product(levels)} codes, not {num_codes}; change levels, or leave num_codes out")
        return num_codes


def _product(levels: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, levels))} = {math.prod(levels)}"


@QUANTIZERS.register("fsq")
class FSQ(Quantizer):
    """Bounds channel i by a tanh, rounds it to one of L_i integers, and scales these to [-1, 1].

        digit_i = round(h_i tanh(z_i + s_i) - o_i) + floor(L_i / 2)          index = sum_i digit_i L_0 ... L_{i-1}
        value_i = digit_i / floor(L_i / 2) - 1
        h_i = (L_i - 1)(1 + 1e-3) / 2,   o_i = 1/2 where L_i is even, else 0,   s_i = atanh(o_i / h_i), so that 0 stays 0

    The gradient is straight-through. There are no parameters, and both losses are zero.
    """

    Options = FSQOptions
    half_range: Tensor
    offset: Tensor
    shift: Tensor
    half_width: Tensor

    def __init__(self, options: FSQOptions) -> None:
        super().__init__()
        self.options = options
        self.dim = len(options.levels)
        self.num_codes = math.prod(options.levels)
        self.commitment_weight = 0.0
        levels = torch.tensor(options.levels)
        half_range = (levels - 1) * (1 + MARGIN) / 2
        offset = 0.5 * (levels % 2 == 0)
        constants = {"half_range": half_range, "offset": offset, "shift": (offset / half_range).atanh(), "half_width": levels // 2}
        for name, values in constants.items():
            self.register_buffer(name, values[:, None, None], persistent=False)

    def forward(self, features: Tensor) -> Quantized:
        """See `Quantizer.forward`."""
        bounded = self._bounded(features)
        indices = self._indices(bounded)
        zero = bounded.new_zeros(())
        return Quantized(pass_through(bounded / self.half_width, self.decode(indices)), indices, zero, zero.clone())

    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        return self._indices(self._bounded(features))

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        digits = []
        for size in self.options.levels:
            digits.append(indices % size)
            indices = indices // size
        return (torch.stack(digits, dim=1) - self.half_width).float() / self.half_width

    def _bounded(self, features: Tensor) -> Tensor:
        """Features [B, D, h, w] to float32 values that round to the L_i integers of each channel."""
        return torch.tanh(features.float() + self.shift) * self.half_range - self.offset

    def _indices(self, bounded: Tensor) -> Tensor:
        """Indices int64 [B, h, w] of bounded features [B, D, h, w]; an arbitrary valid index where a feature is NaN."""
        digits = bounded.detach().nan_to_num(0).round().long() + self.half_width
        index = torch.zeros_like(digits[:, 0])
        for channel, size in reversed(list(enumerate(self.options.levels))):
            index = index * size + digits[:, channel]
        return index
