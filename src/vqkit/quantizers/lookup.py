"""What all quantizers with a codebook share: nearest-code lookup, the gradient estimator, and decoding.

Where the codes come from is up to the subclass: `vqkit.quantizers.codebook` (codes that are learned independently) and
`vqkit.quantizers.simvq` (codes under one learned linear map).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from vqkit.config import Settings
from vqkit.interfaces import Quantized, Quantizer
from vqkit.layers.compiling import never_compiled
from vqkit.quantizers.l2_normalize import l2_normalize
from vqkit.quantizers.nearest import nearest_codes
from vqkit.quantizers.rotation import rotate
from vqkit.quantizers.straight_through import straight_through, to_grid, to_rows

GradientEstimator = Annotated[
    Literal["straight-through", "rotation"],
    Field(description="How the gradient passes from a code to its feature: unchanged, or rotated and scaled."),
]
"""The gradient estimator of the lookup; see `vqkit.quantizers.straight_through` and `vqkit.quantizers.rotation`."""


class LookupOptions(Settings):
    """Settings of every quantizer with a codebook."""

    num_codes: int = Field(512, ge=2, description="Number of codes K.")
    dim: int = Field(64, ge=1, description="Dimension D of the codes and of the features.")
    commitment_weight: float = Field(0.25, ge=0, description="Weight of the commitment loss, which pulls features to their codes.")
    distance: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="Distance of features and codes; with cosine, both are l2-normalised first."
    )
    gradient_estimator: GradientEstimator = "straight-through"


class RowsSeen(Exception):  # noqa: N818 - not an error
    """Breaks off a pass in which a codebook without codes sees `rows` float32 [N, D]."""

    def __init__(self, owner: LookupQuantizer, rows: Tensor) -> None:
        super().__init__()
        self.owner, self.rows = owner, rows


class LookupQuantizer(Quantizer):
    """Replaces each feature by the nearest of the K codes of `codebook()`.

    With the cosine distance features and codes are l2-normalised (Yu et al. 2022, "Vector-quantized Image Modeling with Improved
    VQGAN", section 3.2): the decoder gets l2-normalised codes, and the losses compare them with the l2-normalised features.
    """

    def __init__(self, options: LookupOptions) -> None:
        super().__init__()
        self.num_codes = options.num_codes
        self.dim = options.dim
        self.commitment_weight = options.commitment_weight
        self.l2_normalized = options.distance == "cosine"
        self.uses_rotation = options.gradient_estimator == "rotation"
        # See `vqkit.quantizers.passes`.
        self.stops_at_rows = False
        self.kept: list[tuple[Tensor, Tensor]] | None = None

    @abstractmethod
    def codebook(self) -> Tensor:
        """The codes, float32 [K, D], l2-normalised for the cosine distance; with a gradient to the parameters that define them."""

    @never_compiled
    def forward(self, features: Tensor) -> Quantized:
        """See `Quantizer.forward`."""
        with torch.autocast(features.device.type, enabled=False):
            features = self._normalized(features)
            rows = to_rows(features)
            if self.training and not self.is_initialised:
                if self.stops_at_rows:
                    raise RowsSeen(self, rows.detach())
                self._initialise(rows)
            codes = self.codebook()
            indices = nearest_codes(rows, codes)
            quantized, codebook_loss, commitment_loss = straight_through(features, codes, rows, indices)
            if self.uses_rotation:
                quantized = rotate(features, quantized)
            if self.training and self.kept is None:
                self._update(rows, indices)
            elif self.kept is not None:
                self.kept.append((rows.detach(), indices))
        if not any(parameter.requires_grad for parameter in self.parameters()):
            codebook_loss = torch.zeros_like(codebook_loss)
        return Quantized(quantized, indices.view(features.shape[0], *features.shape[2:]), codebook_loss, commitment_loss)

    @never_compiled
    def encode(self, features: Tensor) -> Tensor:
        """See `Quantizer.encode`."""
        with torch.autocast(features.device.type, enabled=False):
            rows = to_rows(self._normalized(features))
            return nearest_codes(rows, self.codebook()).view(features.shape[0], *features.shape[2:])

    def decode(self, indices: Tensor) -> Tensor:
        """See `Quantizer.decode`."""
        batch, height, width = indices.shape
        with torch.autocast(indices.device.type, enabled=False):
            codes = self.codebook().detach()
        return to_grid(torch.embedding(codes, indices.flatten()), torch.Size((batch, self.dim, height, width)))

    def _normalized(self, vectors: Tensor) -> Tensor:
        """Features [B, D, h, w] or codes [K, D], l2-normalised over D, as float32, if the distance is cosine."""
        return l2_normalize(vectors.float(), 1) if self.l2_normalized else vectors

    @property
    def is_initialised(self) -> bool:
        """Whether there is nothing to initialise from the first batch, or that is done."""
        return True

    def initialise(self, rows: Tensor) -> None:
        """Initialise the codes from the rows float32 [N, D] of a whole training batch."""
        with torch.autocast(rows.device.type, enabled=False):
            self._initialise(rows)

    def update_with_kept(self) -> None:
        """Update the codes with what was kept of the passes over a batch."""
        if self.kept:
            rows, indices = (torch.cat(each) for each in zip(*self.kept, strict=True))
            with torch.autocast(rows.device.type, enabled=False):
                self._update(rows, indices)

    def _initialise(self, rows: Tensor) -> None:
        """Called before the rows float32 [N, D] of a training batch are quantised, to initialise the codes from the first batch."""

    def _update(self, rows: Tensor, indices: Tensor) -> None:
        """Called after the rows float32 [N, D] of a training batch were quantised to indices int64 [N], to update the codes."""
