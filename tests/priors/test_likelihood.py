"""Probabilities that priors give to codes: they sum to one, samples follow them, and training raises them where it should."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from small_priors import LEVELS, SMALL, random_codes, random_conditioning, same_codes, small_prior, small_spec
from vqkit.interfaces import Codes, CodeSpec, Conditioning
from vqkit.interfaces.priors import Sampling, SamplingMethod
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.registry import PRIORS


def every_code(spec: CodeSpec) -> Codes:
    """All that 3 codes can be put on the grids of all levels, [N, h, w] for each of these."""
    sizes = [height * width for height, width in spec.shapes]
    every = torch.tensor(list(itertools.product(range(3), repeat=sum(sizes))))
    return tuple(level.unflatten(1, shape) for level, shape in zip(every.split(sizes, dim=1), spec.shapes, strict=True))


def numbers(codes: Codes) -> Tensor:
    """Where each sample stands in `every_code`, int64 [B]."""
    digits = torch.cat([level.flatten(1) for level in codes], dim=1)
    return digits @ 3 ** torch.arange(digits.shape[1] - 1, -1, -1)


@torch.no_grad()
def probabilities(prior: AutoregressivePrior, conditioning: Conditioning) -> Tensor:
    """The probability float64 [N] of everything in `every_code`, all told the same."""
    codes = every_code(prior.spec)
    levels = prior.nll(codes, conditioning.map(lambda tensor: tensor.expand(len(codes[0]), *tensor.shape[1:])))
    return torch.cat([-nll.double().flatten(1) for nll in levels], dim=1).sum(dim=1).exp()


@pytest.mark.parametrize("kind", ["none", "metadata", "observed"])
@pytest.mark.parametrize("name", SMALL)
def test_probabilities_of_all_grids_sum_to_one(name: str, kind: str) -> None:
    spec = small_spec(kind, (2, 2), codes=3, levels=LEVELS[name])
    found = probabilities(small_prior(name, spec), random_conditioning(spec, 1))
    assert float(found.sum()) == pytest.approx(1, abs=1e-6)
    assert float(found.max() / found.min()) > 4  # far from uniform, for which it would be easy


@pytest.mark.parametrize("method", ["cached", "fixed-point"])
@pytest.mark.parametrize("name", SMALL)
def test_samples_are_as_frequent_as_they_are_probable(name: str, method: SamplingMethod) -> None:
    spec, count = small_spec("class", (2, 2), codes=3, levels=LEVELS[name]), 4000
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 1)
    expected = count * probabilities(prior, conditioning)
    many = conditioning.map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))
    found = numbers(prior.sample(count, many, Sampling(seed=1, method=method))).bincount(minlength=len(expected))
    # Pearson's statistic has its freedom as mean and twice that as variance where the frequencies are right (rare grids are
    # counted together).
    rare = expected < 5
    observed, due = (torch.cat([each[~rare], each[rare].sum()[None]]) for each in (found.double(), expected))
    statistic = ((observed - due).square() / due.clamp(min=1)).sum()
    freedom = len(due) - 1
    assert freedom > 20
    assert abs(float(statistic) - freedom) < 4 * (2 * freedom) ** 0.5
    uniform = count / len(expected)
    assert float((found - uniform).square().sum() / uniform) > 500


@pytest.mark.parametrize("kind", ["none", "class"])
@pytest.mark.parametrize("name", SMALL)
def test_the_loss_is_the_mean_of_the_nats(name: str, kind: str) -> None:
    spec = small_spec(kind, levels=LEVELS[name])
    prior, conditioning, codes = small_prior(name, spec), random_conditioning(spec, 6), random_codes(spec, 6)
    losses = prior.loss_function(*codes, conditioning=conditioning)
    assert set(losses) == {"total_loss", *spec.level_names}
    levels = prior.nll(codes, conditioning)
    for level, (nll, name_of_level) in enumerate(zip(levels, spec.level_names, strict=True)):
        assert nll.shape == (6, *spec.shapes[level])
        assert nll.dtype == torch.float32
        torch.testing.assert_close(losses[name_of_level], nll.mean())
        by_hand = -prior.logits(level, codes, conditioning).log_softmax(dim=1).gather(1, codes[level][:, None])[:, 0]
        torch.testing.assert_close(nll, by_hand)
    torch.testing.assert_close(losses["total_loss"], torch.cat([nll.flatten() for nll in levels]).mean())
    unconditional = prior.loss_function(*codes)["total_loss"]
    untold = prior.nll(codes, Conditioning.unconditional(6, spec))
    torch.testing.assert_close(unconditional, torch.cat([nll.flatten() for nll in untold]).mean())


@pytest.mark.parametrize("name", SMALL)
def test_an_untrained_prior_is_near_uniform(name: str) -> None:
    spec = small_spec("metadata+observed", codes=64, levels=LEVELS[name])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PRIORS.build(name, SMALL[name], spec)
    with torch.no_grad():
        loss = prior.loss_function(*random_codes(spec, 8), conditioning=random_conditioning(spec, 8))["total_loss"]
    assert float(loss) == pytest.approx(math.log(64), rel=0.1)


@pytest.mark.parametrize("name", SMALL)
def test_a_prior_learns_patterns_and_which_of_them_it_is_told(name: str) -> None:
    spec = small_spec("class", (5, 4), codes=6, levels=LEVELS[name])
    shifts = torch.arange(3)
    pattern = (torch.arange(5)[:, None] + 2 * torch.arange(4) + 2 * shifts[:, None, None]) % 6
    codes = tuple(pattern[:, :height, :width] for height, width in spec.shapes)
    conditioning = Conditioning(torch.empty(3, 0), shifts, (), torch.zeros(3, dtype=torch.bool))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PRIORS.build(name, SMALL[name], spec)
        optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
        for step in range(80):
            dropped = torch.arange(3) == step % 6  # every second time one of the three is not told
            loss = prior.loss_function(*codes, conditioning=conditioning._replace(dropped=dropped))["total_loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    prior.eval()
    with torch.no_grad():
        known = float(prior.loss_function(*codes, conditioning=conditioning)["total_loss"])
        unknown = float(prior.loss_function(*codes)["total_loss"])
    assert known < 0.02
    # Not told, the first code is one of three, and decides all others.
    surprise = math.log(3) / sum(level[0].numel() for level in codes)
    assert surprise - 0.005 < unknown < surprise + 0.05
    assert same_codes(prior.sample(3, conditioning, Sampling(temperature=0.1)), codes)
