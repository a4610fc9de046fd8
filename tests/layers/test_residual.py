"""Residual blocks start as the identity; resampling changes the size by two; an unknown condition has its own vector."""

from __future__ import annotations

import torch

from vqkit.interfaces import ConditionSpec
from vqkit.layers.conditions import ConditionEmbedding
from vqkit.layers.residual import Downsample, ResidualBlock, Upsample


def test_blocks_start_as_the_identity() -> None:
    x = torch.randn(2, 64, 6, 4)
    assert torch.equal(ResidualBlock(64, 16)(x), x)
    assert torch.equal(ResidualBlock(64, 16, conditions=8)(x, torch.randn(2, 8)), x)


def test_resampling_changes_the_size_by_two() -> None:
    x = torch.randn(2, 8, 6, 4)
    assert Downsample(8, 12)(x).shape == (2, 12, 3, 2)
    assert Upsample(8, 12)(x).shape == (2, 12, 12, 8)


def test_an_unknown_condition_has_its_own_vector_whatever_the_value_would_be() -> None:
    embedding = ConditionEmbedding((ConditionSpec("w", 0, 10, 5, 2), ConditionSpec("h", 0, 10, 5, 2)), 16)
    torch.nn.init.normal_(embedding.unknown)
    nan = float("nan")
    known, half, none = embedding(torch.tensor([[3.0, 4.0], [3.0, nan], [nan, nan]]))
    assert torch.isfinite(embedding(torch.tensor([[nan, nan]]))).all()
    assert not torch.allclose(known, half)
    assert not torch.allclose(half, none)
    embedding.unknown.grad = None
    embedding(torch.tensor([[nan, 4.0]])).sum().backward()
    assert embedding.unknown.grad is not None
    assert embedding.unknown.grad[0].abs().sum() > 0
    assert embedding.unknown.grad[1].abs().sum() == 0
