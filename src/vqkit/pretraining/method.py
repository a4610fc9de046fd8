"""What a method of self-supervised learning is: a loss on what an encoder makes of two views of each image.

Shapes: B images of this process, N images of all processes, C components, F channels of the encoder, P dimensions of a projection.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.config import Settings
from vqkit.interfaces.methods import View
from vqkit.pretraining.global_rows import gather_rows


class ProjectorOptions(Settings):
    """Settings of every method."""

    hidden: int = Field(256, ge=1, description="Width of the projector's hidden layer.")
    dim: int = Field(128, ge=2, description="Dimensions of a projection, in which views are compared.")


class Projector(nn.Module):
    """A network with one hidden layer, of a view of the images of all processes: float32 [N, inputs] to [N, outputs].

    Normalised over the batch, as in the papers: with layer normalisation in its place, BYOL on tyre sections made all images alike
    within a hundred steps. No running statistics, for it serves training only; in float32 also where the encoder is in bfloat16.
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
    """The mean over all positions of the features of views, one view after the other: float32 [views * B, F]."""
    features: Tensor = encoder(torch.cat([view.images for view in views]), torch.cat([view.observed for view in views]))
    return features.float().mean(dim=(2, 3))


def gathered_features(encoder: nn.Module, first: View, second: View) -> tuple[Tensor, Tensor]:
    """The features of both views of the images of all processes: float32 [N, F] each, the same in every process.

    What follows is small, so that every process computes all of it: a batch's statistics and comparisons are then those of the
    whole batch, however it is cut.
    """
    one, other = encode_views(encoder, first, second).chunk(2)
    return gather_rows(one), gather_rows(other)
