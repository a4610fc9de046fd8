"""Probabilities that priors give to codes: they sum to one, samples follow them, and training raises them where it should."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from small_priors import SMALL, random_codes, small_prior, small_spec, something
from vqkit.interfaces import Conditioning
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.registry import PRIORS
from vqkit.sampling import Method, Sampling

EVERY_GRID = torch.tensor(list(itertools.product(range(3), repeat=4))).view(81, 2, 2)
"""All grids of 2 x 2 codes out of 3."""


@torch.no_grad()
def probabilities(prior: AutoregressivePrior, told: Conditioning) -> Tensor:
    """The probability float64 [81] of every grid, all told the same."""
    (nats,) = prior.nats((EVERY_GRID,), told.map(lambda tensor: tensor.expand(81, *tensor.shape[1:])))
    return (-nats.double().sum(dim=(1, 2))).exp()


@pytest.mark.parametrize("told", ["none", "metadata", "observed"])
@pytest.mark.parametrize("name", SMALL)
def test_probabilities_of_all_grids_sum_to_one(name: str, told: str) -> None:
    spec = small_spec(told, (2, 2), codes=3)
    found = probabilities(small_prior(name, spec), something(spec, 1))
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    assert float(found.max() / found.min()) > 4  # far from uniform, for which it would be easy


@pytest.mark.parametrize("method", ["cached", "fixed-point"])
@pytest.mark.parametrize("name", SMALL)
def test_samples_are_as_frequent_as_they_are_probable(name: str, method: Method) -> None:
    spec, count = small_spec("class", (2, 2), codes=3), 4000
    prior, told = small_prior(name, spec), something(spec, 1)
    expected = count * probabilities(prior, told)
    many = told.map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))
    (codes,) = prior.sample(count, many, Sampling(seed=1, method=method))
    numbers = codes.flatten(1) @ torch.tensor([27, 9, 3, 1])
    found = numbers.bincount(minlength=81)
    # Pearson's statistic has mean 80 and variance 160 where the frequencies are right (rare grids are counted together).
    rare = expected < 5
    observed, due = (torch.cat([each[~rare], each[rare].sum()[None]]) for each in (found.double(), expected))
    statistic = ((observed - due).square() / due.clamp(min=1)).sum()
    freedom = len(due) - 1
    assert freedom > 20
    assert abs(float(statistic) - freedom) < 4 * (2 * freedom) ** 0.5
    uniform = count / 81
    assert float((found - uniform).square().sum() / uniform) > 500


@pytest.mark.parametrize("told", ["none", "class"])
@pytest.mark.parametrize("name", SMALL)
def test_the_loss_is_the_mean_of_the_nats(name: str, told: str) -> None:
    spec = small_spec(told)
    prior, given, codes = small_prior(name, spec), something(spec, 6), random_codes(spec, 6)
    (nats,) = prior.nats(codes, given)
    assert nats.shape == (6, 5, 3)
    assert nats.dtype == torch.float32
    losses = prior.loss_function(*codes, conditioning=given)
    assert set(losses) == {"total_loss", "codes"}
    torch.testing.assert_close(losses["total_loss"], nats.mean())
    torch.testing.assert_close(losses["codes"], nats.mean())
    by_hand = -prior.logits(0, codes, given).log_softmax(dim=1).gather(1, codes[0][:, None])[:, 0]
    torch.testing.assert_close(nats, by_hand)
    unconditional = prior.loss_function(*codes)["total_loss"]
    torch.testing.assert_close(unconditional, prior.nats(codes, Conditioning.nothing(6, spec))[0].mean())


@pytest.mark.parametrize("name", SMALL)
def test_an_untrained_prior_is_near_uniform(name: str) -> None:
    spec = small_spec("metadata+observed", codes=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PRIORS.build(name, SMALL[name], spec)
    with torch.no_grad():
        loss = prior.loss_function(*random_codes(spec, 8), conditioning=something(spec, 8))["total_loss"]
    assert float(loss) == pytest.approx(math.log(64), rel=0.1)


@pytest.mark.parametrize("name", SMALL)
def test_a_prior_learns_patterns_and_which_of_them_it_is_told(name: str) -> None:
    spec = small_spec("class", (5, 4), codes=6)
    shifts = torch.arange(3)
    codes = (torch.arange(5)[:, None] + 2 * torch.arange(4) + 2 * shifts[:, None, None]) % 6
    told = Conditioning(torch.empty(3, 0), shifts, (), torch.zeros(3, dtype=torch.bool))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PRIORS.build(name, SMALL[name], spec)
        optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
        for step in range(80):
            dropped = torch.arange(3) == step % 6  # every second time one of the three is not told
            loss = prior.loss_function(codes, conditioning=told._replace(dropped=dropped))["total_loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    prior.eval()
    with torch.no_grad():
        known = float(prior.loss_function(codes, conditioning=told)["total_loss"])
        unknown = float(prior.loss_function(codes)["total_loss"])
    assert known < 0.02
    # Not told, the first code is one of three, and decides the other nineteen.
    assert math.log(3) / 20 - 0.005 < unknown < math.log(3) / 20 + 0.05
    assert torch.equal(prior.sample(3, told, Sampling(temperature=0.1))[0], codes)
