"""The plain masked autoencoder: what can be had without a prior and without noise (a denoising autoencoder in the sense of Vincent
et al. 2008, "Extracting and Composing Robust Features with Denoising Autoencoders", where what is hidden is the corruption).

    image * observed ─┐                                        condition values
                      ├─ encoder ── features ── z ── foot ── decoder ── logits of the WHOLE image
    observed ─────────┘             [B,F,h,w]

It is the floor of comparisons: as `vqkit.models.vae`, without divergence and noise, so it fills in but draws no new images. Where
we depart from the paper: what `vqkit.models.vqvae` says of its encoder and decoder, and that the encoder is told what is hidden.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.interfaces import DataSpec, Reconstruction
from vqkit.models.latent import LatentModel, LatentOptions, build_head
from vqkit.registry import MODELS


@MODELS.register("autoencoder")
class PlainAutoencoder(LatentModel):
    """The plain autoencoder of this module; see there for the diagram."""

    Options = LatentOptions

    def __init__(self, options: LatentOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.head = build_head(options, spec, options.latent_dim)

    def expected(self, features: Tensor) -> Tensor:
        """See `LatentModel.expected`."""
        latents: Tensor = self.head(features)
        return latents

    def forward(
        self, images: Tensor, observed: Tensor, conditions: Tensor, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """See `Autoencoder.forward`. Losses: recon. Nothing is drawn at random."""
        del generator
        logits = self.logits(self.expected(self.features(images, observed)), conditions)
        return Reconstruction(logits, self.likelihood.loss(logits, images))
