"""Normalisation over channels."""

from __future__ import annotations

import torch

from vqkit.layers.channel_norm import ChannelNorm


def test_each_pixel_has_a_mean_square_of_one() -> None:
    norm = ChannelNorm(5)
    x = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)) * torch.logspace(-1, 4, 4)
    assert torch.allclose(norm(x).square().mean(dim=1), torch.ones(2, 3, 4), atol=1e-3)
    with torch.no_grad():
        norm.factor.copy_(torch.arange(5.0)[:, None, None])
    expected = x / x.square().mean(dim=1, keepdim=True).sqrt() * torch.arange(5.0)[:, None, None]
    assert torch.allclose(norm(x), expected, rtol=1e-3, atol=1e-4)


def test_features_of_zero_stay_zero_and_a_pixel_is_alone() -> None:
    norm = ChannelNorm(3)
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    x[..., 0, 0] = 0
    assert torch.equal(norm(x)[..., 0, 0], torch.zeros(1, 3))
    assert torch.equal(norm(x)[..., 1:3, 1:3], norm(x[..., 1:3, 1:3]))
    assert norm(x.bfloat16()).dtype is torch.bfloat16
