"""What quantizers with a codebook share: the nearest of K codes, a gradient for it, and the way back.

Where the codes come from is the subclass's own: `vqkit.quantizers.codebook` (codes that learn one by one) and
`vqkit.quantizers.simvq` (codes that move together).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.interfaces import Quantized, Quantizer
from vqkit.quantizers.compiling import never_compiled
from vqkit.quantizers.nearest import nearest_codes
from vqkit.quantizers.rotation import rotate
from vqkit.quantizers.sphere import unit
from vqkit.quantizers.straight_through import straight_through, to_grid, to_rows

GradientEstimator = Annotated[
    Literal["straight-through", "rotation"],
    Field(description="How the gradient passes a code: unchanged, or turned and scaled as the feature was to become the code."),
]
"""The gradient of a step that has none; see `vqkit.quantizers.straight_through` and `vqkit.quantizers.rotation`."""


class LookupOptions(Settings):
    """Settings of every quantizer with a codebook."""

    num_codes: int = Field(512, ge=2, description="Number of codes K.")
    dim: int = Field(64, ge=1, description="Length D of a code, and channels of the features.")
    commitment_weight: float = Field(0.25, ge=0, description="Weight of the loss that pulls features to their codes.")
    distance: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="cosine: features and codes are first divided by their lengths, and only angles count."
    )
    gradient_estimator: GradientEstimator = "straight-through"


class LookupQuantizer(Quantizer):
    """Replaces each feature by the nearest of the K codes that `codebook` gives.

    With the cosine distance features and codes lie on the unit sphere (Yu et al. 2022, "Vector-quantized Image Modeling with
    Improved VQGAN", section 3.2): what goes on to the decoder are codes of length one, and the losses compare these with the
    features on the sphere.
    """

    def __init__(self, options: LookupOptions) -> None:
        super().__init__()
        self.num_codes = options.num_codes
        self.dim = options.dim
        self.commitment_weight = options.commitment_weight
        self.on_sphere = options.distance == "cosine"
        self.rotates = options.gradient_estimator == "rotation"

    @abstractmethod
    def codebook(self) -> Tensor:
        """The codes as they are used, float32 [K, D], with a gradient to what the codebook loss trains."""

    @never_compiled
    def forward(self, features: Tensor) -> Quantized:
        """See `Quantizer.forward`."""
        with torch.autocast(features.device.type, enabled=False):
            features = self._placed(features)
            rows = to_rows(features)
            if self.training:
                self._start(rows)
            codes = self.codebook()
            indices = nearest_codes(rows, codes)
            quantized, codebook_loss, commitment_loss = straight_through(features, codes, rows, indices)
            if self.rotates:
                quantized = rotate(features, quantized)
            if self.training:
                self._update(rows, indices)
        if not any(parameter.requires_grad for parameter in self.parameters()):
            codebook_loss = torch.zeros_like(codebook_loss)
        return Quantized(quantized, indices.view(features.shape[0], *features.shape[2:]), codebook_loss, commitment_loss)

    @never_compiled
    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        with torch.autocast(features.device.type, enabled=False):
            rows = to_rows(self._placed(features))
            return nearest_codes(rows, self.codebook()).view(features.shape[0], *features.shape[2:])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        batch, height, width = indices.shape
        with torch.autocast(indices.device.type, enabled=False):
            codes = self.codebook().detach()
        return to_grid(torch.embedding(codes, indices.flatten()), torch.Size((batch, self.dim, height, width)))

    def _placed(self, features: Tensor) -> Tensor:
        """The features [B, D, h, w] where they are compared: on the sphere, or where they are."""
        return unit(features.float(), 1) if self.on_sphere else features

    def _start(self, rows: Tensor) -> None:
        """Anything to do before the rows float32 [N, D] of a training batch are quantised."""

    def _update(self, rows: Tensor, indices: Tensor) -> None:
        """Anything to do after the rows float32 [N, D] of a training batch got their indices int64 [N]."""
