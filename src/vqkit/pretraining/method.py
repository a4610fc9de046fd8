"""What the pretraining methods share: the projector, and the features of two views of each image over all processes.

Shapes: B images of this process, N images of all processes, C components, F channels of the encoder, P dimensions of a projection.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.config import Settings
from vqkit.interfaces.methods import View
from vqkit.pretraining.global_rows import gather_with_gradients


class ProjectorOptions(Settings):
    """Settings of all pretraining methods."""

    hidden: int = Field(256, ge=1, description="Width of the projector's hidden layer.")
    dim: int = Field(128, ge=2, description="Dimensions of the projection in which views are compared.")


class Projector(nn.Module):
    """An MLP with one hidden layer, applied to features of the global batch: float32 [N, inputs] to [N, outputs].

    It uses batch normalisation, as in the papers: with layer normalisation, BYOL collapsed within a hundred steps on tyre sections.
    There are no running statistics, since projectors are only used in training. Always float32, even if the encoder is in bfloat16.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, hidden, bias=False),
            nn.BatchNorm1d(hidden, track_running_stats=False),
            nn.ReLU(),
            nn.Linear(hidden, outputs),
        )

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(rows.device.type, enabled=False):
            projections: Tensor = self.layers(rows.float())
        return projections


def encode_views(encoder: nn.Module, *views: View) -> Tensor:
    """Features of views, averaged over all positions; views are concatenated along the batch: float32 [views * B, F]."""
    features: Tensor = encoder(torch.cat([view.images for view in views]), torch.cat([view.observed for view in views]))
    return features.float().mean(dim=(2, 3))


def gathered_features(encoder: nn.Module, first: View, second: View) -> tuple[Tensor, Tensor]:
    """The features of both views of the images of all processes: float32 [N, F] each, the same in every process.

    Everything after the encoder is cheap, so every process computes it for the global batch: statistics and comparisons then do not
    depend on how the batch is split between processes.
    """
    one, other = encode_views(encoder, first, second).chunk(2)
    return gather_with_gradients(one), gather_with_gradients(other)
