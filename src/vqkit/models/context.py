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
which nothing more is learned. Shapes are 0 or 1 and need none of it. Intensities under a likelihood
whose logits are not pixels (bernoulli) are treated like shapes.

So a model completes an image at least about as well as linear regression does (`vqkit.layers.linear_start`), and its codes still
hold whole images. Corrections are multiplied by gains in [0, 2], fitted on validation images after training: where a correction
does harm on images that the model was not trained on it is reduced, where it is too timid increased. There is a gain for each
component that is missing as a whole and each number of kept ones, and one for its pixels in small and in large holes at each of
several distances from what is observed: near the edge of a hole the guess is good, in the middle of a large one poor.

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
from vqkit.layers.kriging import DEEPEST_WEIGHED
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.residual import Downsample, ResidualBlock, Upsample, init_zero

_LEAST_CHANNELS, _MOST_CHANNELS = 16, 64
"""Features at full resolution, where they cost most: two for each component within these limits."""
_DISTANCES = (1, 2, 4, 8, DEEPEST_WEIGHED)
"""Pixels of a hole within so many rows and columns of an observed one share a gain; a hole with farther ones is large."""


class ContextFeatures(NamedTuple):
    """What a decoder takes from a batch's context.

    `features`: at full resolution first, then on ever coarser grids; `guess` [B, C, H, W] of the intensities, or None; `observed`
    bool [B, C, H, W]; `shown` bool [B, 1, 1, 1]: whether anything of an image is observed.
    """

    features: list[Tensor]
    guess: Tensor | None
    observed: Tensor
    shown: Tensor


class ContextBranch(nn.Module):
    """The part of a decoder that sees what is observed.

    `channels`: of the decoder's features on its grids, the finest first. `gain` float32 [C, cases] multiplies corrections, except
    in training; see `cases`. `pixel_logits`: see `Likelihood`; the others are corrected as shapes are.
    """

    gain: Tensor
    intensities: Tensor

    def __init__(self, spec: DataSpec, channels: Sequence[int], inner: int, pixel_logits: Tensor) -> None:
        super().__init__()
        count = len(spec.components)
        full = min(_MOST_CHANNELS, max(_LEAST_CHANNELS, 8 * -(-count // 4)))
        bounds = torch.tensor([each.unit_bounds for each in spec.component_specs])
        self.start = LinearStart(bounds) if bool(pixel_logits.any()) else None
        self.register_buffer("intensities", pixel_logits[:, None, None], persistent=False)
        self._distances = () if self.start is None else _DISTANCES
        self.register_buffer("gain", torch.ones(count, count + 1 + 2 * len(self._distances)))
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
        return ContextFeatures(features, guess, observed, observed.flatten(1).any(dim=1)[:, None, None, None])

    def cases(self, observed: Tensor) -> Tensor:
        """Which gain of its component is that of each pixel, int64 [B, C, H, W].

        Of a component of which nothing is `observed` (bool [B, C, H, W]): the number of kept ones. Of another: C where a pixel is
        observed or next to one that is, and one more for each larger distance; with holes that are large in their image, as many
        more as there are distances.
        """
        some = observed.flatten(2).any(dim=2)[..., None, None]
        far = torch.zeros_like(observed, dtype=torch.int64)
        near, reached = observed.float(), 0
        for distance in self._distances:
            step = distance - reached
            near, reached = F.max_pool2d(near, 2 * step + 1, stride=1, padding=step), distance
            far = far + (near == 0)
        most = len(self._distances)
        large = (far == most).flatten(2).any(dim=2)[..., None, None]
        return torch.where(some, observed.shape[1] + far + most * large, some.sum(dim=1, keepdim=True))

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
            components = torch.arange(len(self.gain), device=correction.device)[:, None, None]
            correction = correction * self.gain[components, self.cases(context.observed)]
        return torch.where(context.shown, start + correction, logits.float())
