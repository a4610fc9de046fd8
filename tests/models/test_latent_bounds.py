"""Bounds on the probability of an image, against the probability itself: with one latent dimension it is a plain integral."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from latent_cases import BOUNDED, inputs, seeded, small, spec
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces.models import importance_bound
from vqkit.models import latent as module
from vqkit.models.latent import VariationalModel

COUNT = 3


def strong(name: str, kind: str = "binary") -> VariationalModel:
    """A model of 8 x 8 images whose single latent dimension matters for the image, and whose posterior is wrong."""
    model = small(name, spec(8, 8, kind, components=1, conditions=False), shake=0.1, latent_dim=1).eval()
    assert isinstance(model, VariationalModel)
    linear = model.latent_projection[1]  # type: ignore[index]
    assert isinstance(linear, torch.nn.Linear)
    linear.weight.data *= 3
    return model


def exact(model: VariationalModel, images: Tensor, conditions: Tensor) -> Tensor:
    """log p(x), float64 [B]: the sum over a fine grid of latents."""
    grid = torch.linspace(-8, 8, 2001)
    logits = model.logits(grid.view(-1, 1, 1, 1), conditions[:1].expand(len(grid), -1))
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(grid.double()) + math.log(16 / 2000)
    each = [model.likelihood.log_prob(logits, image.expand_as(logits)) for image in images]
    return torch.stack([(log_prior + nll).logsumexp(dim=0) for nll in each])


@pytest.mark.parametrize("kind", ["binary", "intensity"])
@pytest.mark.parametrize("name", BOUNDED)
@torch.no_grad()
def test_the_bound_rises_to_the_probability_of_the_image(name: str, kind: str) -> None:
    model = strong(name, kind)
    images, _, conditions = inputs(model.spec, COUNT)
    truth = exact(model, images, conditions)
    weights = model.log_weights(images, conditions, 6400, seeded())
    assert weights.shape == (6400, COUNT) and weights.dtype == torch.float64
    # On average over many draws, more samples never make a worse bound, and none of them is above the truth.
    means = [importance_bound(weights.view(size, -1, COUNT)).mean() for size in (1, 4, 16, 64)]
    assert all(float(more - fewer) > 0.003 for fewer, more in pairwise(means)), means
    assert float(means[-1]) < float(truth.mean())
    torch.testing.assert_close(importance_bound(weights), truth, rtol=0, atol=0.1)


@pytest.mark.parametrize("name", BOUNDED)
@torch.no_grad()
def test_one_sample_is_the_elbo_that_is_trained(name: str) -> None:
    model = strong(name)
    model.beta = 1.0
    images, observed, conditions = inputs(model.spec, COUNT)
    weights = model.log_weights(images, conditions, 4000, seeded())
    elbo = weights.mean()
    error = float((weights.var(dim=0).sum() * (1 / 4000 + 1 / 6000)).sqrt()) / COUNT
    many = [each.repeat(6000, *[1] * (each.ndim - 1)) for each in (images, observed, conditions)]
    losses = model(*many, seeded(2)).named_losses
    assert float(-(losses["recon"] + losses["kl"]) * 64) == pytest.approx(float(elbo), abs=4 * error)
    assert 4 * error < 0.5


@torch.no_grad()
def test_the_bound_is_that_of_the_weights_however_they_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = strong("vae")
    images, _, conditions = inputs(model.spec, COUNT)
    weights = model.log_weights(images, conditions, 10, seeded())
    assert torch.equal(model.bound(images, conditions, 10, seeded()), weights.logsumexp(dim=0) - math.log(10))
    monkeypatch.setattr(module, "_VALUES_AT_ONCE", 3 * images.numel())
    torch.testing.assert_close(model.log_weights(images, conditions, 10, seeded()), weights, rtol=0, atol=1e-4)


def test_there_is_none_without_a_likelihood_of_pixels() -> None:
    model = small("vae", spec(kind="intensity"), likelihood="mse")
    assert isinstance(model, VariationalModel)
    images, _, conditions = inputs(model.spec)
    with pytest.raises(ConfigError, match="no probability under the likelihood mse"):
        model.bound(images, conditions, 1, seeded())
