"""Lookup-free quantization: signs instead of a codebook (Yu et al. 2023, "Language Model Beats Diffusion: Tokenizer is Key to
Visual Generation", section 3.1)."""

from __future__ import annotations

import torch
from pydantic import Field, field_validator
from torch import Tensor

from vqkit.config import Settings
from vqkit.core import distributed
from vqkit.interfaces import Quantized, Quantizer
from vqkit.layers.compiling import never_compiled
from vqkit.quantizers.bit_entropy import mean_code_entropy, mean_code_probabilities, negative_entropy
from vqkit.quantizers.straight_through import pass_through
from vqkit.registry import QUANTIZERS

MAX_CODES = 2**20
"""Largest K: the mean probability of every code is kept in memory."""


class LFQOptions(Settings):
    """Settings of lookup-free quantization."""

    num_codes: int = Field(1024, ge=2, le=MAX_CODES, description="Number of codes K, a power of two; log2 K channels.")
    commitment_weight: float = Field(0.25, ge=0, description="Weight of the commitment loss, which pulls features to their signs.")
    entropy_weight: float = Field(0.1, ge=0, description="Weight of the entropy loss: confident choices, uniform use of the codes.")
    diversity: float = Field(1.0, ge=0, description="Weight, within the entropy loss, of the uniform use of the codes.")
    temperature: float = Field(0.01, gt=0, description="Temperature of the softmax over the codes whose entropies are computed.")

    @field_validator("num_codes")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"the number of codes must be a power of two, such as {1 << value.bit_length()}, not {value}")
        return value


@QUANTIZERS.register("lfq")
class LFQ(Quantizer):
    """Each of D = log2 K channels becomes its sign: `value_i = 1` where z_i > 0, else -1, and `index = sum_i 2^i [z_i > 0]`.

    The gradient is straight-through. In training the codebook loss is the entropy loss of a softmax over the codes c,

        w (mean H[p(. | z)] - diversity H[mean p(. | z)]),          p(c | z) = softmax(2 z . c / temperature)

    with weight w. Its first term makes choices confident; its second, over the batch of all processes, makes the codes equally
    frequent. Both are exact, and neither needs a probability for every pair of feature and code: see
    `vqkit.quantizers.bit_entropy`. In evaluation the entropy loss is zero, since it would have to be reduced over processes that
    evaluate different numbers of batches.
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
            z = features.float()
            indices = self.encode(features)
            values = self.decode(indices)
            quantized = pass_through(z, values)
            commitment_loss = (z - values).square().mean()
            entropy_loss = self._entropy_loss(z) if self.training else torch.zeros_like(commitment_loss)
        return Quantized(quantized, indices, entropy_loss, commitment_loss)

    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        bits = (features.detach() > 0).long()
        return (bits << self._bit_positions(features)).sum(dim=1)

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        bits = (indices[:, None] >> self._bit_positions(indices)) & 1
        return (2 * bits - 1).float()

    def _entropy_loss(self, features: Tensor) -> Tensor:
        """The entropy loss of float32 features [B, D, h, w]."""
        logits = features.movedim(1, -1).flatten(0, -2) * (4 / self.options.temperature)
        mean = mean_code_probabilities(logits)
        # The value is the mean over all processes. The gradient is that of the own mean: the processes' gradients are averaged
        # afterwards.
        global_mean = mean.detach().clone()
        distributed.all_reduce(global_mean)
        mean = mean + (global_mean / distributed.world_size() - mean.detach())
        loss = mean_code_entropy(logits) + self.options.diversity * negative_entropy(mean)
        return self.options.entropy_weight * loss

    def _bit_positions(self, tensor: Tensor) -> Tensor:
        """Position of each channel's bit in an index, int64 [D, 1, 1]."""
        return torch.arange(self.dim, device=tensor.device)[:, None, None]
