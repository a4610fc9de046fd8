"""The encoder of a model as a module of its own, so that it can be pretrained.

    image * observed ─┐
                      ├─ down ── trunk ── down ── trunk ── ... ── features on the coarsest grid
    observed ─────────┘                                              [B,F,h,w]

A model with one grid has one pair of `down` and `trunk`. What a model does with the features afterwards (a projection to the
dimension of the codebook, the heads of a posterior) is not included, so the encoder parts of all models with one grid are alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from vqkit.interfaces import EncoderPart
from vqkit.layers.module_list import TypedModuleList
from vqkit.models.networks import Encoder, NetworkOptions, encoder_input


class EncoderChain(EncoderPart):
    """A chain of encoders, each applied to the output of the previous one; `factor` between their grids (see `VQVAE2Options`)."""

    def __init__(self, options: NetworkOptions, encoders: Sequence[Encoder], factor: int | None = None) -> None:
        super().__init__()
        self.channels = options.hidden
        self.settings = {"levels": len(encoders), "factor": factor}
        self.settings |= {name: getattr(options, name) for name in NetworkOptions.model_fields}
        self.downs = TypedModuleList(encoder.down for encoder in encoders)
        self.trunks = TypedModuleList(encoder.trunk for encoder in encoders)

    def forward(self, images: Tensor, observed: Tensor) -> Tensor:
        """See `EncoderPart.forward`."""
        hidden = encoder_input(images, observed)
        for down, trunk in zip(self.downs, self.trunks, strict=True):
            hidden = trunk(down(hidden), None)
        return hidden
