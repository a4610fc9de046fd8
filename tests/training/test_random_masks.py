"""The three kinds of training samples: what the encoder sees of each, and what the decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.config import MaskingConfig
from vqkit.interfaces import Batch
from vqkit.training.tasks.masks import random_masks


def batch(count: int, present: Tensor | None = None) -> Batch:
    images = torch.rand(count, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    return Batch(images, torch.zeros(count, 0), torch.full((count,), -1), present=present)


def shares(images: Batch, probability: float, **masking: object) -> tuple[float, float, float]:
    """The shares of samples in which nothing is hidden, both see a part, and the decoder alone sees a part."""
    config = MaskingConfig.model_validate({"kind": "components", **masking})
    observed, shown = random_masks(images, probability, config, torch.Generator().manual_seed(1))
    whole = images.observed
    sees_all = (observed == whole).flatten(1).all(dim=1)
    nothing, same = ~shown.flatten(1).any(dim=1), (observed == shown).flatten(1).all(dim=1)
    assert bool((sees_all | same).all())  # no other kind
    assert not bool((shown & ~whole).any())
    assert not bool((nothing & ~sees_all).any())
    parts = sees_all & nothing, same & ~nothing, sees_all & ~nothing & ~same
    return tuple(float(part.float().mean()) for part in parts)  # type: ignore[return-value]


def test_unmasked_samples_show_the_decoder_nothing() -> None:
    assert shares(batch(50), 0.0) == (1.0, 0.0, 0.0)


def test_the_shares_are_those_of_the_settings() -> None:
    whole, both, alone = shares(batch(4000), 0.6, decoder_only=0.25)
    assert abs(whole - 0.4) < 0.03
    assert abs(both - 0.45) < 0.03
    assert abs(alone - 0.15) < 0.03
    assert shares(batch(50), 1.0, decoder_only=0.0)[1] == 1.0
    assert shares(batch(50), 1.0, decoder_only=1.0)[2] == 1.0


def test_what_is_absent_is_shown_to_neither() -> None:
    present = torch.ones(300, 4, 1, 1, dtype=torch.bool)
    present[::3, 2:] = False
    whole, both, alone = shares(batch(300, present), 0.7, decoder_only=0.3)
    assert min(whole, both, alone) > 0.1
