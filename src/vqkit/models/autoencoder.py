"""The plain masked autoencoder, a deterministic baseline without a prior: a denoising autoencoder (Vincent et al. 2008, "Extracting
and Composing Robust Features with Denoising Autoencoders") whose corruption is the mask.

    image * observed ─┐                                            condition values
                      ├─ encoder ── features ── z ── projection ── decoder ── logits of the WHOLE image
    observed ─────────┘             [B,F,h,w]

It is `vqkit.models.vae` without noise and KL divergence, so it completes images but cannot sample new ones. Where we depart from
the paper: encoder and decoder (see `vqkit.models.vqvae`), and the encoder is given the mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.interfaces import DataSpec, Reconstruction
from vqkit.models.latent import LatentModel, LatentOptions, build_head
from vqkit.models.networks import context_of
from vqkit.registry import MODELS


@MODELS.register("autoencoder")
class PlainAutoencoder(LatentModel):
    """The plain autoencoder of this module; see there for the diagram."""

    Options = LatentOptions

    def __init__(self, options: LatentOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        self.head = build_head(options, spec, options.latent_dim)

    def expected_latents(self, features: Tensor) -> Tensor:
        """See `LatentModel.expected_latents`."""
        latents: Tensor = self.head(features)
        return latents

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        """See `Autoencoder.forward`. Losses: recon. Deterministic."""
        del generator
        logits = self.logits(self.expected_latents(self.features(images, observed)), conditions, context_of(images, shown))
        return Reconstruction(logits, self.likelihood.loss(logits, images, present))
