"""Register a model of your own: a linear map from the observed pixels to a low-dimensional code, and one back to the whole image.

    python examples/add_a_model.py [STEPS]

In a package of your own, publish the module as an entry point, and `vqkit train --model linear` finds it:

    [project.entry-points."vqkit.models"]
    linear = "my_package.linear"
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor, nn

from vqkit.config import Settings
from vqkit.evaluation.autoencoder import evaluate
from vqkit.interfaces import Autoencoder, DataSpec, Reconstruction
from vqkit.layers.encoder_input import observed_pixels
from vqkit.models.likelihoods import build_likelihood
from vqkit.registry import MODELS
from vqkit.training.run import train


class LinearOptions(Settings):
    """Settings of the linear model."""

    rank: int = Field(32, ge=1, description="Dimension of the code between the two maps.")


@MODELS.register("linear", "a linear map to a low-dimensional code and one back")
class LinearModel(Autoencoder):
    """Masked images [B, C, H, W] to the parameters of the likelihood of every pixel."""

    Options = LinearOptions

    def __init__(self, options: LinearOptions, spec: DataSpec) -> None:
        super().__init__(options, spec)
        size = len(spec.components) * spec.height * spec.width
        self.likelihood = build_likelihood("auto", spec)
        self.down, self.up = nn.Linear(2 * size, options.rank), nn.Linear(options.rank, size)

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        """`observed_pixels` contains no hidden pixels; the loss is over everything that is present."""
        logits = self.up(self.down(observed_pixels(images, observed).flatten(1))).view_as(images)
        return Reconstruction(logits, self.likelihood.loss(logits, images, present))

    def mean(self, logits: Tensor) -> Tensor:
        """The expected image [B, C, H, W] in [0, 1]."""
        return self.likelihood.mean(logits)


if __name__ == "__main__":
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    data = {"name": "tyre", "num_train": 512, "num_val": 64, "num_test": 64}
    train(None, {"model": {"name": "linear"}, "data": data, "training": {"steps": steps}}, [], Path("runs/linear"), "auto")
    for part in evaluate("runs/linear").parts:
        print(f"{part.name}: IoU {part.mean_iou:.3f}")
