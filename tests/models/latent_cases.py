"""Small models with a continuous bottleneck, and images for them."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.interfaces import ConditionSpec, DataSpec, fully_observed
from vqkit.models.latent import LatentModel
from vqkit.registry import MODELS

CONDITIONS = (ConditionSpec("width_px", 40, 60, 50, 5), ConditionSpec("height_px", 40, 60, 50, 5))
NAMES = ("autoencoder", "vae", "beta-vae", "auxiliary-vae", "treevi", "vae-gan", "adversarial-vae")
GENERATIVE = NAMES[1:]
BOUNDED = NAMES[1:-1]


def spec(height: int = 24, width: int = 16, kind: str = "binary", components: int = 3, conditions: bool = True) -> DataSpec:
    names = tuple("abcde"[:components])
    return DataSpec.uniform("toy", names, height, width, kind, conditions=CONDITIONS if conditions else ())  # type: ignore[arg-type]


def small(name: str, data: DataSpec, shake: float = 0.05, **options: object) -> LatentModel:
    """A model whose parameters have all been moved a little: parts start at zero, and many paths would be dead."""
    discriminator = {"discriminator_channels": 8} if name in ("vae-gan", "adversarial-vae") else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build(name, {"hidden": 16, "inner": 8, "latent_dim": 6, **discriminator, **options}, data)
        for parameter in model.parameters():
            parameter.data += shake * torch.randn_like(parameter)
    assert isinstance(model, LatentModel)
    return model


def inputs(data: DataSpec, count: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Images, all observed, and unknown conditions."""
    images = torch.rand(count, len(data.components), data.height, data.width, generator=torch.Generator().manual_seed(1))
    images = images.round() if data.value_kind == "binary" else (images * 255).round() / 255
    return images, fully_observed(images), data.unknown_conditions(count)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
