"""Conditions when codes are drawn: guidance, the null condition, and values that are unknown."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from small_priors import (
    CONDITIONING_KINDS,
    LEVELS,
    METHODS,
    SMALL,
    Rows,
    full_logits,
    network,
    noise_on_grid,
    random_codes,
    random_conditioning,
    same_codes,
    small_prior,
    small_spec,
)
from vqkit.interfaces import Conditioning
from vqkit.interfaces.priors import Sampling, SamplingMethod
from vqkit.priors.sampling import choose, guide


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMALL)
def test_guidance_one_never_computes_the_unconditional_pass(
    name: str, method: SamplingMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = small_spec("metadata", levels=LEVELS[name])
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 4)
    expected = prior.sample(4, conditioning, Sampling(method=method))
    rows = Rows(prior, monkeypatch)
    assert same_codes(prior.sample(4, conditioning, Sampling(method=method, guidance_scale=1.0)), expected)
    assert set(rows.asked) == {4}
    rows.asked.clear()
    guided = prior.sample(4, conditioning, Sampling(method=method, guidance_scale=3.0))
    assert not any(map(torch.equal, guided, expected))
    assert set(rows.asked) == {8}


@pytest.mark.parametrize("kind", CONDITIONING_KINDS[1:])
@pytest.mark.parametrize("name", SMALL)
def test_guidance_moves_logits_away_from_the_unconditional_ones(name: str, kind: str) -> None:
    spec, sampling = small_spec(kind, levels=LEVELS[name]), Sampling(guidance_scale=2.5)
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 6)
    codes = prior.sample(6, conditioning, sampling)
    for level in range(LEVELS[name]):
        conditional, unconditional = (
            full_logits(prior, codes, each, level) for each in (conditioning, Conditioning.unconditional(6, spec))
        )
        noise = noise_on_grid(spec, 6, sampling, level)
        assert torch.equal(codes[level], choose(guide(conditional, unconditional, 2.5), noise, sampling))
        assert not torch.equal(codes[level], choose(conditional, noise, sampling))


@pytest.mark.parametrize("name", SMALL)
def test_guidance_zero_or_nothing_told_is_unconditional(name: str) -> None:
    spec = small_spec("metadata+observed", levels=LEVELS[name])
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 4)
    dropped = conditioning._replace(dropped=torch.ones(4, dtype=torch.bool))
    unconditional = prior.sample(4)
    assert same_codes(prior.sample(4, dropped), unconditional)
    assert same_codes(prior.sample(4, dropped, Sampling(guidance_scale=4.0)), unconditional)
    assert same_codes(prior.sample(4, conditioning, Sampling(guidance_scale=0.0)), unconditional)
    assert not any(map(torch.equal, prior.sample(4, conditioning), unconditional))


@pytest.mark.parametrize("name", SMALL)
def test_guidance_leaves_samples_that_are_told_nothing_alone(name: str) -> None:
    spec = small_spec("metadata", levels=LEVELS[name])
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 4)
    mixed = conditioning._replace(dropped=torch.tensor([False, True, False, True]))
    levels = zip(prior.sample(4, mixed, Sampling(guidance_scale=3.0)), prior.sample(4), strict=True)
    for guided, unconditional in levels:
        assert torch.equal(guided[1::2], unconditional[1::2])
        assert not torch.equal(guided[::2], unconditional[::2])


@pytest.mark.parametrize("kind", CONDITIONING_KINDS[1:])
@pytest.mark.parametrize("name", SMALL)
def test_the_null_condition_is_one_whatever_is_dropped(name: str, kind: str) -> None:
    spec = small_spec(kind, levels=LEVELS[name])
    prior, codes = small_prior(name, spec), random_codes(spec, 3)
    dropped = (random_conditioning(spec, 3, seed)._replace(dropped=torch.ones(3, dtype=torch.bool)) for seed in (1, 2))
    level = LEVELS[name] - 1
    expected = prior.logits(level, codes, Conditioning.unconditional(3, spec))
    for conditioning in dropped:
        assert torch.equal(prior.logits(level, codes, conditioning), expected)
    conditional = prior.logits(level, codes, random_conditioning(spec, 3))
    assert not torch.allclose(conditional, expected)
    with torch.no_grad():  # it is learned, and stands for nothing else
        network(prior, level).get_parameter("conditions.null").add_(1)
    assert not torch.allclose(prior.logits(level, codes, Conditioning.unconditional(3, spec)), expected)
    assert torch.equal(prior.logits(level, codes, random_conditioning(spec, 3)), conditional)


@pytest.mark.parametrize("name", SMALL)
def test_single_values_may_be_unknown(name: str) -> None:
    spec = small_spec("metadata", levels=LEVELS[name])
    prior, codes = small_prior(name, spec), random_codes(spec, 1)

    def logits(*values: float) -> Tensor:
        conditioning = random_conditioning(spec, 1)._replace(values=torch.tensor([values]))
        return prior.logits(LEVELS[name] - 1, codes, conditioning)

    unknown = float("nan")
    partly = logits(55, unknown)
    assert bool(partly.isfinite().all())
    for other in (logits(55, 50), logits(unknown, unknown), logits(45, unknown)):
        assert not torch.allclose(partly, other)
