"""Lookup-free quantization: signs in place of a codebook (Yu et al. 2023, "Language Model Beats Diffusion: Tokenizer is Key to
Visual Generation", section 3.1)."""

from __future__ import annotations

import torch
from pydantic import Field, field_validator
from torch import Tensor

from vqkit.config import Settings
from vqkit.core import distributed
from vqkit.interfaces import Quantized, Quantizer
from vqkit.quantizers.bit_entropy import mean_code_entropy, mean_code_probabilities, negative_entropy
from vqkit.quantizers.compiling import never_compiled
from vqkit.quantizers.straight_through import pass_through
from vqkit.registry import QUANTIZERS

MAX_CODES = 2**20
"""Largest K: the mean probability of every code is held in memory."""


class LFQOptions(Settings):
    """Settings of lookup-free quantization."""

    num_codes: int = Field(1024, ge=2, le=MAX_CODES, description="Number of codes K, a power of two; log2 K channels.")
    commitment_weight: float = Field(0.25, ge=0, description="Weight of the loss that pulls features to their signs.")
    entropy_weight: float = Field(0.1, ge=0, description="Weight of the entropy loss: sure choices, all codes alike.")
    diversity: float = Field(1.0, ge=0, description="Weight, inside the entropy loss, of using all codes alike.")
    temperature: float = Field(0.01, gt=0, description="Width of the soft choice whose entropies are taken.")

    @field_validator("num_codes")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"the number of codes must be a power of two, such as {1 << value.bit_length()}, not {value}")
        return value


@QUANTIZERS.register("lfq")
class LFQ(Quantizer):
    """Each of D = log2 K channels becomes its sign: `value_i = 1` where z_i > 0, else -1, and `index = sum_i 2^i [z_i > 0]`.

    The gradient passes the sign unchanged. The codebook loss, in training, is the entropy loss of a soft choice among the codes c,

        w (mean H[p(. | z)] - diversity H[mean p(. | z)]),          p(c | z) = softmax(2 z . c / temperature)

    whose first term makes choices sure and whose second, over the batch of all processes, makes codes equally frequent. Both are
    exact and neither needs a probability for every feature and code: see `vqkit.quantizers.bit_entropy`. Outside of training
    that loss is zero: it would need all processes, which then go their own ways.
    """

    Options = LFQOptions

    def __init__(self, options: LFQOptions) -> None:
        super().__init__()
        self.options = options
        self.num_codes = options.num_codes
        self.dim = options.num_codes.bit_length() - 1
        self.commitment_weight = options.commitment_weight

    @never_compiled
    def forward(self, features: Tensor) -> Quantized:
        """See `Quantizer.forward`."""
        with torch.autocast(features.device.type, enabled=False):
            given = features.float()
            indices = self.encode(features)
            values = self.decode(indices)
            quantized = pass_through(given, values)
            commitment_loss = (given - values).square().mean()
            entropy_loss = self._entropy_loss(given) if self.training else torch.zeros_like(commitment_loss)
        return Quantized(quantized, indices, entropy_loss, commitment_loss)

    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        bits = (features.detach() > 0).long()
        return (bits << self._places(features)).sum(dim=1)

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        bits = (indices[:, None] >> self._places(indices)) & 1
        return (2 * bits - 1).float()

    def _entropy_loss(self, features: Tensor) -> Tensor:
        """The entropy loss of float32 features [B, D, h, w]."""
        logits = features.movedim(1, -1).flatten(0, -2) * (4 / self.options.temperature)
        mean = mean_code_probabilities(logits)
        # The value is that of all processes. The gradient is this process's own share times their number, as
        # gradients are averaged over the processes afterwards.
        everywhere = mean.detach().clone()
        distributed.all_reduce(everywhere)
        mean = mean + (everywhere / distributed.world_size() - mean.detach())
        loss = mean_code_entropy(logits) + self.options.diversity * negative_entropy(mean)
        return self.options.entropy_weight * loss

    def _places(self, tensor: Tensor) -> Tensor:
        """The place of each channel's bit, int64 [D, 1, 1]."""
        return torch.arange(self.dim, device=tensor.device)[:, None, None]
