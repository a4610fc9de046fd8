"""The decoder's view of what is observed, so that codes need not carry what can be copied.

    observed pixels ── features on every grid ──┬─────────┬─────────┬── features at full resolution ──┐
                                                +         +         +                                 │
    codes ── projection ────────────────────────┴─ trunk ─┴─ up ... ┴─ up ── logits of codes alone    │
                                                                    │                                 + ── correction
                                                                    └── up ───────────────────────────┘

    logits = linear guess + gain * correction      for intensities that are not observed, in units of their deviation
           = what is observed                      for intensities that are
           = logits of codes alone + correction    for shapes
           = logits of codes alone                 where nothing of the image is shown to the decoder

A part of the correction draws the guess towards the mean of its component, by a share that the network chooses for each pixel:
where a linear guess is poor, it is easier to leave than to cancel.

Where there are intensities, features of what is observed, and those that corrections come from, are normalised
(`vqkit.layers.channel_norm`): bright pixels of a few images would otherwise drive them, and the decoder's with them, to sizes at
which nothing more is learned. Shapes are 0 or 1 and need none of it.

So a model completes an image at least about as well as linear regression does (`vqkit.layers.linear_start`), and its codes still
hold whole images. The gain in [0, 2] of each component and number of kept ones is fitted on validation images after training: where
the correction does harm on images that the model was not trained on it is reduced, where it is too timid increased.

A decoder that sees unmasked pixels: Zhu et al. 2023, "Designing a Better Asymmetric VQGAN for StableDiffusion" (arXiv 2306.04632);
features that are not quantised where pixels are known: Liu et al. 2022, "Reduce Information Loss in Transformers for Pluralistic
Image Inpainting" (arXiv 2205.05076). The linear guess and the gain are ours.

Shapes: B images, C components, H x W pixels; unit values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.interfaces import Context, DataSpec
from vqkit.layers.channel_norm import ChannelNorm
from vqkit.layers.encoder_input import observed_pixels
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import Downsample, ResidualBlock, Upsample, init_zero

_LEAST_CHANNELS, _MOST_CHANNELS = 16, 64
"""Features at full resolution, where they cost most: two for each component within these limits."""


class ContextFeatures(NamedTuple):
    """What a decoder takes from a batch's context.

    `features`: at full resolution first, then on ever coarser grids; `guess` [B, C, H, W] of the intensities, or None; `observed`
    bool [B, C, H, W]; `shown` bool [B, 1, 1, 1]: whether anything of an image is observed; `kept` int64 [B]: of how many
    components something is.
    """

    features: list[Tensor]
    guess: Tensor | None
    observed: Tensor
    shown: Tensor
    kept: Tensor


class ContextBranch(nn.Module):
    """The part of a decoder that sees what is observed.

    `channels`: of the decoder's features on its grids, the finest first. `gain` float32 [C, C + 1] multiplies the correction of a
    component by the number of kept ones, except in training.
    """

    gain: Tensor
    intensities: Tensor

    def __init__(self, spec: DataSpec, channels: Sequence[int], inner: int) -> None:
        super().__init__()
        count = len(spec.components)
        full = min(_MOST_CHANNELS, max(_LEAST_CHANNELS, 8 * -(-count // 4)))
        self.start = (
            None if bool(spec.binary.all()) else LinearStart(torch.tensor([each.unit_bounds for each in spec.component_specs]))
        )
        self.register_buffer("intensities", ~spec.binary[:, None, None], persistent=False)
        self.register_buffer("gain", torch.ones(count, count + 1))
        self.enter = nn.Conv2d(2 * count + (count if self.start is not None else 0), full, 3, padding=1)
        before = [full, *channels]
        self.downs = TypedModuleList([Downsample(before[level], each) for level, each in enumerate(channels)])
        self.blocks = TypedModuleList([ResidualBlock(each, min(inner, each)) for each in channels[:-1]])
        norm = nn.Identity if self.start is None else ChannelNorm
        self.norms = TypedModuleList([norm(each) for each in (full, *channels)])
        self.up_norm, self.leave_norm = norm(channels[0]), norm(full)
        self.up = Upsample(channels[0], full)
        self.block = ResidualBlock(full, full)
        self.leave = nn.Conv2d(full, count if self.start is None else 2 * count, 3, padding=1)
        init_zero(self.leave)

    def forward(self, context: Context) -> ContextFeatures:
        """The features of a context on every grid."""
        guess, observed = None, context.observed
        if self.start is None:
            given = observed_pixels(context.images, observed)
        else:
            guess = self.start(context.images, observed)
            seen = torch.where(observed, self.start.standardised(context.images), 0)
            given = torch.cat([seen, observed.float(), self.start.standardised(guess)], dim=1)
        features = [self.norms[0](self.enter(given.contiguous(memory_format=torch.channels_last)))]
        for level, down in enumerate(self.downs, start=1):
            features.append(self.norms[level](down(F.silu(features[-1]))))
        some = observed.flatten(2).any(dim=2)
        return ContextFeatures(features, guess, observed, some.any(dim=1)[:, None, None, None], some.sum(dim=1))

    def add(self, hidden: Tensor, level: int, context: ContextFeatures) -> Tensor:
        """The decoder's features [B, channels, h, w] on a grid (0: the finest) with what is seen there."""
        seen = hidden + context.features[level + 1]
        if level < len(self.blocks):
            seen = self.blocks[level](seen, None)
        return torch.where(context.shown, seen, hidden)

    def correct(self, logits: Tensor, hidden: Tensor, context: ContextFeatures) -> Tensor:
        """Logits float32 [B, C, H, W] of images, from those of their codes alone and the features on the decoder's finest grid."""
        seen = self.up(F.silu(self.up_norm(hidden))) + context.features[0]
        correction = self.leave(F.silu(self.leave_norm(self.block(seen, None)))).float()
        start = logits.float()
        if self.start is not None and context.guess is not None:
            correction, trust = correction.chunk(2, dim=1)
            doubt = (2 * trust.sigmoid() - 1) * (context.guess - self.start.mean[:, None, None])
            correction = torch.where(self.intensities, self.start.deviation[:, None, None] * correction + doubt, correction)
            start = torch.where(self.intensities, context.guess, start)
            correction = correction.masked_fill(self.intensities & context.observed, 0)
        if not self.training:
            correction = correction * self.gain.T[context.kept][:, :, None, None]
        return torch.where(context.shown, start + correction, logits.float())
