"""Residual quantization: a sum of codes (Zeghidour et al. 2021, "SoundStream", section III-C; for images Lee et al. 2022,
"Autoregressive Image Generation using Residual Quantization", section 3.1)."""

from __future__ import annotations

import torch
from pydantic import Field, field_validator
from torch import Tensor

from vqkit.config import NamedOptions, Settings
from vqkit.interfaces import Quantized
from vqkit.quantizers.choice import QuantizerChoice
from vqkit.quantizers.composite import CompositeQuantizer
from vqkit.quantizers.lookup import GradientEstimator, LookupQuantizer
from vqkit.quantizers.rotation import rotate
from vqkit.quantizers.straight_through import pass_through
from vqkit.registry import QUANTIZERS


class ResidualOptions(Settings):
    """Settings of residual quantization."""

    num_quantizers: int = Field(4, ge=1, le=64, description="Codes per position; they give K ** num_quantizers sums.")
    gradient_estimator: GradientEstimator = "straight-through"
    inner: QuantizerChoice = Field(
        NamedOptions(name="ema"), validate_default=True, description="Name and settings of the quantizer of each depth."
    )

    @field_validator("inner")
    @classmethod
    def _fits_residuals(cls, inner: NamedOptions) -> NamedOptions:
        if not issubclass(QUANTIZERS.get(inner.name), LookupQuantizer):
            raise ValueError(f"residual quantization needs a codebook, such as ema, gradient or simvq, not {inner.name}")
        if inner.options["distance"] != "euclidean":
            raise ValueError("l2-normalised codes cannot represent residuals of small norm; use distance: euclidean")
        if inner.options["gradient_estimator"] != "straight-through":
            raise ValueError("the gradient passes all depths in one step; set gradient_estimator of the residual quantizer itself")
        return inner


@QUANTIZERS.register("residual")
class ResidualVQ(CompositeQuantizer):
    """Depth d quantises the residual of depths 0 to d - 1: `r_0 = z`, `q_d = Q_d(r_d)`, `r_{d+1} = r_d - q_d`, value `sum_d q_d`.

    Indices are int64 [B, num_quantizers, h, w], coarsest first. Losses are summed over the depths. The gradient of the value
    passes to the features once, as if all depths were a single lookup; earlier codes are constants to later ones.
    """

    Options = ResidualOptions

    def __init__(self, options: ResidualOptions) -> None:
        super().__init__(options.inner, options.num_quantizers)
        self.options = options
        self.dim = self.inner[0].dim
        self._pass = rotate if options.gradient_estimator == "rotation" else pass_through

    def forward(self, features: Tensor) -> Quantized:
        """See `Quantizer.forward`."""
        residual = features.float()
        total = torch.zeros_like(residual)
        steps = []
        for inner in self.inner:
            steps.append(inner(residual))
            chosen = steps[-1].features.detach()
            residual = residual - chosen
            total = total + chosen
        return Quantized(
            self._pass(features, total),
            self._stacked([step.indices for step in steps]),
            torch.stack([step.codebook_loss for step in steps]).sum(),
            torch.stack([step.commitment_loss for step in steps]).sum(),
        )

    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        residual = features.detach().float()
        indices = []
        for inner in self.inner:
            indices.append(inner.encode(residual))
            residual = residual - inner.decode(indices[-1])
        return self._stacked(indices)

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        first, *rest = [inner.decode(part) for inner, part in self._parts(indices, 1)]
        return sum(rest, first)
