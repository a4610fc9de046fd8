"""Gaussians against `torch.distributions`."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vqkit.models.gaussian import Gaussian, standard_log_prob


def gaussian() -> Gaussian:
    return Gaussian.from_parameters(torch.randn(3, 8, 2, 2, generator=torch.Generator().manual_seed(0)))


def test_log_densities_and_kl_are_those_of_torch() -> None:
    posterior, points = gaussian(), torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    normal = Normal(posterior.mean, posterior.std)
    torch.testing.assert_close(posterior.log_prob(points), normal.log_prob(points).flatten(1).sum(dim=1))
    torch.testing.assert_close(posterior.kl(), kl_divergence(normal, Normal(0.0, 1.0)).flatten(1).sum(dim=1))
    torch.testing.assert_close(standard_log_prob(points), Normal(0.0, 1.0).log_prob(points).flatten(1).sum(dim=1))


def test_draws_are_the_mean_plus_scaled_noise_with_a_gradient_to_both_parameters() -> None:
    mean, log_variance = torch.zeros(1, 2, requires_grad=True), torch.full((1, 2), 2.0, requires_grad=True)
    drawn = Gaussian(mean, log_variance).rsample(torch.ones(1, 2))
    torch.testing.assert_close(drawn.detach(), torch.full((1, 2), 1.0).exp())
    drawn.sum().backward()
    assert mean.grad is not None and mean.grad.tolist() == [[1.0, 1.0]]
    assert log_variance.grad is not None and float(log_variance.grad[0, 0]) == pytest.approx(0.5 * drawn[0, 0].item())


def test_the_mean_is_contiguous_and_the_log_variance_bounded() -> None:
    posterior = Gaussian.from_parameters(torch.cat([torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 99.0)], dim=1))
    assert posterior.mean.is_contiguous()
    assert posterior.log_variance.unique().tolist() == [14.0]
