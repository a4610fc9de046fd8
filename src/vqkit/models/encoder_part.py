"""The encoders of vqkit's models, apart from the rest of them, so that they can be trained by themselves.

    image * observed ─┐
                      ├─ down ── trunk ── down ── trunk ── ... ── features on the coarsest grid
    observed ─────────┘                                              [B,F,h,w]

A model with one grid has one pair of these. What a model does to the features afterwards (a projection to the codebook's
dimension, the heads of a posterior) is not part of it: so all models with one grid share one kind of encoder part.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vqkit.interfaces import EncoderPart
from vqkit.layers.module_list import TypedModuleList
from vqkit.models.coding import Encoder, NetworkOptions, see


class EncoderChain(EncoderPart):
    """Encoders one after the other, each on what the one before has made; `factor`: of their grids (see `VQVAE2Options`)."""

    def __init__(self, options: NetworkOptions, encoders: Sequence[Encoder], factor: int | None = None) -> None:
        super().__init__()
        self.channels = options.hidden
        self.settings = {"levels": len(encoders), "factor": factor}
        self.settings |= {name: getattr(options, name) for name in NetworkOptions.model_fields}
        self.downs = TypedModuleList(encoder.down for encoder in encoders)
        self.trunks = TypedModuleList(encoder.trunk for encoder in encoders)

    def forward(self, images: Tensor, observed: Tensor) -> Tensor:
        """See `EncoderPart.forward`."""
        hidden = see(images, observed)
        for down, trunk in zip(self.downs, self.trunks, strict=True):
            hidden = trunk(down(hidden), None)
        return hidden
