"""Bounds over a split: from the model's own weights, the same however the images come, in nats and in bits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqkit.config import NamedOptions
from vqkit.core.randomness import generator_for
from vqkit.data.opening import open_dataset
from vqkit.data.splits import ArraySplit
from vqkit.data.subsets import Subset
from vqkit.errors import ConfigError
from vqkit.evaluation import bounds as module
from vqkit.evaluation.bounds import Bounds, measure_bounds
from vqkit.interfaces import DataSpec, Split
from vqkit.models.latent import VariationalModel
from vqkit.models.likelihoods import DiscretizedLogistic
from vqkit.registry import MODELS


def tyre(count: int) -> Split:
    return open_dataset(NamedOptions(name="tyre", num_train=4, num_val=2, num_test=count)).split("test")


def model_for(spec: DataSpec, **options: object) -> VariationalModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: VariationalModel = MODELS.build("vae", {"hidden": 8, "inner": 4, "latent_dim": 4, **options}, spec)
    return model.eval()


@torch.no_grad()
def test_the_means_over_a_split_are_those_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = tyre(3)
    model = model_for(images.spec)
    batch = images.batch(torch.arange(3)).to(torch.device("cpu"), images.spec)
    unknown = torch.full_like(batch.conditions, torch.nan)

    def weights(number: int, conditions: Tensor) -> Tensor:
        part = slice(number, number + 1)
        return model.log_weights(batch.images[part], conditions[part], 5, generator_for(2, "bound", number))[:, 0]

    each = torch.stack([weights(number, unknown) for number in range(3)])
    tight = each.logsumexp(dim=1) - math.log(5)
    found = measure_bounds(model, images, samples=5, seed=2)
    assert found.elbo == pytest.approx(float(each.mean()))
    assert found.importance_weighted == pytest.approx(float(tight.mean()))
    assert found.standard_error == pytest.approx(float(tight.std() / math.sqrt(3)), rel=1e-3)
    assert (found.likelihood, found.images, found.samples) == ("bernoulli", 3, 5)
    assert found.elbo < found.importance_weighted
    conditioned = measure_bounds(model, images, samples=5, seed=2, with_conditions=True)
    assert conditioned.elbo == pytest.approx(float(torch.stack([weights(number, batch.conditions) for number in range(3)]).mean()))
    # The same, to rounding, when they come in other batches.
    monkeypatch.setattr(module, "_BATCH_SIZE", 2)
    assert measure_bounds(model, images, samples=5, seed=2).elbo == pytest.approx(found.elbo, rel=1e-5)
    # An image's samples depend on its position in the whole split, not in a subset of it.
    assert measure_bounds(model, Subset(images, torch.tensor([2])), samples=5, seed=2).elbo == pytest.approx(float(each[2].mean()))


def test_bits_a_dimension() -> None:
    bounds = Bounds("logistic", 10, 8, 3 * 4 * 5, -60 * math.log(2) * 3, -60 * math.log(2) * 2, 0.1)
    assert (bounds.elbo_bits, bounds.bits) == pytest.approx((3, 2))
    content = bounds.to_json()
    assert content["likelihood"] == "logistic"
    assert (content["elbo_bits_per_dimension"], content["bits_per_dimension"]) == pytest.approx((3, 2))


def test_a_uniform_pixel_has_eight_bits() -> None:
    spec = DataSpec.uniform("greys", ("grey",), 8, 8, "intensity")
    model = model_for(spec)
    assert isinstance(model.likelihood, DiscretizedLogistic)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.likelihood.raw_log_scale.fill_(1.2)  # a scale so large that the density is all but flat, except at the ends
        model.decoder.up[-1][0].bias.fill_(0.5)
    inside = 1 + torch.randint(254, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    split = ArraySplit(spec, inside)
    scale = math.exp(-2 + 10 * 1.2)
    found = measure_bounds(model, split, samples=3)
    assert found.bits == pytest.approx(math.log2(4 * scale * 255), rel=1e-4)  # the density at its middle is 1 / (4 scale)


def test_what_has_no_bound_says_so() -> None:
    images = tyre(1)
    with pytest.raises(ConfigError, match="no probability under the likelihood l1"):
        measure_bounds(model_for(images.spec, likelihood="l1"), images)
    with pytest.raises(ConfigError, match="The number of posterior samples is 0"):
        measure_bounds(model_for(images.spec), images, samples=0)
