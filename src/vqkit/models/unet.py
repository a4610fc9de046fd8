"""A plain U-Net that fills in what is missing: the first thing that a practitioner would try, and the ceiling in comparisons
(Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation").

    image * observed ─┐
                      ├─ enter ── block ──┬─────────────── concatenate ── block ── leave ── logits of the WHOLE image
    observed ─────────┘                  down                  │
                                          └─ block ─┬─ concatenate ── block ── up
                                                   down        │
                                                    └─ trunk ──┴─ up               (condition values shift its features)

It has no codes, no latents and no distribution over images: it answers every question with its expected image, whatever it was
shown. So it says how well a network of this size can fill in when it need not compress. Masks, loss and training are those of the
other models. Where we depart from the paper: residual blocks without normalisation, sub-pixel upsampling, self-attention on the
coarsest grid, as in `vqkit.models.vqvae`; borders are padded, so that the output has the size of the input.

Shapes: B images, C components, H x W pixels, h x w = H/stride x W/stride the coarsest grid.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from vqkit.interfaces import Autoencoder, DataSpec, Reconstruction
from vqkit.layers.conditions import ConditionEmbedding
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import Downsample, ResidualBlock, Upsample
from vqkit.models.likelihoods import DistanceChoice, build_likelihood
from vqkit.models.networks import NetworkOptions, Trunk, check_stride, encoder_input, widths
from vqkit.registry import MODELS


class UNetOptions(NetworkOptions):
    """Settings of the U-Net."""

    likelihood: DistanceChoice = Field("auto", description="auto: bernoulli for binary data, mse for intensities.")
    reconstruction_weight: float = Field(10.0, gt=0, description="Weight of the reconstruction loss.")


@MODELS.register("unet")
class UNet(Autoencoder):
    """The U-Net of this module; see there for the diagram.

    Raises `ConfigError` when the image size is not divisible by the stride.
    """

    Options = UNetOptions
    options: UNetOptions

    def __init__(self, options: UNetOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        check_stride(options, spec)
        self.likelihood = build_likelihood(options.likelihood, spec)
        channels = [max(32, widths(options)[0] // 2), *widths(options)]
        embedding = options.hidden if spec.conditions else 0
        grid = spec.height // options.stride, spec.width // options.stride
        self.embed = ConditionEmbedding(spec.conditions, embedding) if embedding else None
        self.enter = nn.Conv2d(2 * len(spec.components), channels[0], 3, padding=1)
        self.before = TypedModuleList([ResidualBlock(each, min(options.inner, each)) for each in channels[:-1]])
        self.downs = TypedModuleList([Downsample(fine, coarse) for fine, coarse in pairwise(channels)])
        self.trunk = Trunk(options, grid if options.attention else None, embedding)
        self.ups = TypedModuleList([Upsample(coarse, fine) for fine, coarse in pairwise(channels)])
        self.joins = TypedModuleList([nn.Conv2d(2 * each, each, 3, padding=1) for each in channels[:-1]])
        self.after = TypedModuleList([ResidualBlock(each, min(options.inner, each)) for each in channels[:-1]])
        self.leave = nn.Conv2d(channels[0], len(spec.components), 3, padding=1)
        with torch.no_grad():  # the first images are grey, as those of the other models
            self.leave.get_parameter("bias").add_(self.likelihood.mid_logits)

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        """See `Autoencoder.forward`. Losses: recon. Deterministic; `shown` has no effect."""
        del generator, shown
        logits = self.logits(images, observed, conditions)
        return Reconstruction(logits, self.options.reconstruction_weight * self.likelihood.loss(logits, images, present))

    def logits(self, images: Tensor, observed: Tensor, conditions: Tensor) -> Tensor:
        """Logits [B, C, H, W] of whole images, of their observed part and condition values [B, D] (NaN: unknown)."""
        hidden = self.enter(encoder_input(images, observed))
        skipped: list[Tensor] = []
        for block, down in zip(self.before, self.downs, strict=True):
            skipped.append(block(hidden, None))
            hidden = down(F.silu(skipped[-1]))
        hidden = self.trunk(hidden, self.embed(conditions) if self.embed is not None else None)
        for level in reversed(range(len(skipped))):
            finer = self.ups[level](F.silu(hidden))
            joined = self.joins[level](F.silu(torch.cat([finer, skipped[level]], dim=1)))
            hidden = self.after[level](joined, None)
        logits: Tensor = self.leave(F.silu(hidden))
        return logits

    def mean(self, logits: Tensor) -> Tensor:
        """See `Autoencoder.mean`."""
        return self.likelihood.mean(logits)

    @property
    def last_weights(self) -> tuple[nn.Parameter, ...]:
        """See `Autoencoder.last_weights`."""
        return (self.leave.get_parameter("weight"),)
