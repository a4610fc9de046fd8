"""The perceptual distance of two images: the distance of their features in a network trained on photographs.

It is eq. 1 of Zhang et al. 2018 ("The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", LPIPS) with VGG-16 and
all channel weights 1, their uncalibrated variant: at every position of every feature map, the squared distance of the normalised
features; averaged over positions, summed over maps. Where we depart from Johnson et al. 2016 ("Perceptual Losses"), who compare
unnormalised features of one layer: normalisation, so that no layer dominates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec
from vqkit.interfaces.picture_losses import Added, PictureLoss, Pictures
from vqkit.losses.vgg import SMALLEST_SIDE

_TINY = 1e-8
"""Added to a squared norm; bounds the gradient of the normalisation where all features are zero."""


class PerceptualLoss(PictureLoss):
    """`weight` times the distance between the features of the reconstructions and of the targets.

    `features` gives maps [B, D, h, w] for images [B, C, H, W] in [0, 1]; it must not be a module, which would be saved with the
    task.
    """

    def __init__(self, weight: float, features: Callable[[Tensor], list[Tensor]]) -> None:
        super().__init__()
        self._weight = weight
        self._features = features

    def forward(self, pictures: Pictures) -> Added:
        """See `PictureLoss.forward`."""
        with torch.no_grad():
            target = self._features(pictures.target)
        maps = zip(self._features(pictures.expected), target, strict=True)
        distance = torch.stack([(_normalised(one) - _normalised(other)).square().sum(dim=1).mean() for one, other in maps]).sum()
        return Added({"perceptual": self._weight * distance}, {}, {})


def check_pictures(spec: DataSpec) -> None:
    """Raise `ConfigError` unless a network for photographs accepts images of this kind."""
    if len(spec.components) not in (1, 3):
        raise ConfigError(
            f"loss.perceptual needs RGB or grey images; those of '{spec.name}' have {len(spec.components)} components.",
            "Leave loss.perceptual at 0; loss.adversarial works with any number of components.",
        )
    if min(spec.height, spec.width) < SMALLEST_SIDE:
        raise ConfigError(
            f"loss.perceptual needs images of at least {SMALLEST_SIDE} x {SMALLEST_SIDE} pixels; those of '{spec.name}' are "
            f"{spec.height} x {spec.width} (height x width).",
            "Leave loss.perceptual at 0, or use larger images.",
        )


def _normalised(features: Tensor) -> Tensor:
    """Features [B, D, h, w], l2-normalised at every position, float32."""
    features = features.float()
    return features * (features.square().sum(dim=1, keepdim=True) + _TINY).rsqrt()
