"""Samples of priors: the same from every method, whatever the batch size, and reproducible."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from small_priors import (
    CONDITIONING_KINDS,
    LEVELS,
    METHODS,
    SMALL,
    VARIANTS,
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
from vqkit.interfaces import Codes, Conditioning
from vqkit.interfaces.priors import Sampling, SamplingMethod
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.priors.sampling import choose

GRIDS = ((16, 8), (16, 16), (32, 32))


@torch.no_grad()
def stepped_logits(prior: AutoregressivePrior, codes: Codes, conditioning: Conditioning, level: int) -> Tensor:
    """The cached logits [B, h, w, K] at every position of a level of given codes."""
    stepper, flat = prior.stepper(level, codes[:level], conditioning), codes[level].flatten(1)
    steps = [stepper.step(flat[:, position - 1] if position else None) for position in range(flat.shape[1])]
    return torch.stack(steps, dim=1).unflatten(1, codes[level].shape[1:])


@pytest.mark.parametrize("shape", GRIDS)
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_cached_logits_are_those_of_a_full_pass(name: str, options: dict[str, Any], shape: tuple[int, int]) -> None:
    spec = small_spec("metadata+observed", shape, codes=32, levels=LEVELS[name])
    prior, conditioning, codes = small_prior(name, spec, **options), random_conditioning(spec, 2), random_codes(spec, 2)
    for level in range(LEVELS[name]):
        expected = full_logits(prior, codes, conditioning, level)
        assert float(expected.std(dim=3).min()) > 0.05  # the logits differ, so that being close means something
        torch.testing.assert_close(stepped_logits(prior, codes, conditioning, level), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", CONDITIONING_KINDS)
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_cached_logits_know_every_condition(name: str, options: dict[str, Any], kind: str) -> None:
    spec = small_spec(kind, levels=LEVELS[name])
    prior, conditioning, codes = small_prior(name, spec, **options), random_conditioning(spec, 4), random_codes(spec, 4)
    conditioning = conditioning._replace(dropped=torch.tensor([True, False, False, True]))
    for level in range(LEVELS[name]):
        expected = full_logits(prior, codes, conditioning, level)
        torch.testing.assert_close(stepped_logits(prior, codes, conditioning, level), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("kind", CONDITIONING_KINDS)
@pytest.mark.parametrize("name", SMALL)
def test_every_method_draws_the_same_codes(name: str, kind: str, guidance: float) -> None:
    spec = small_spec(kind, levels=LEVELS[name])
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 5)
    sampling = Sampling(temperature=0.9, top_k=15, top_p=0.9, guidance_scale=guidance, seed=3)
    cached, fixed_point, naive = (prior.sample(5, conditioning, replace(sampling, method=method)) for method in METHODS)
    assert same_codes(cached, naive)
    assert same_codes(fixed_point, naive)


@pytest.mark.parametrize("shape", GRIDS)
@pytest.mark.parametrize("name", SMALL)
def test_every_method_draws_the_same_codes_on_real_grids(name: str, shape: tuple[int, int]) -> None:
    spec, sampling = small_spec("class", shape, codes=32, levels=LEVELS[name]), Sampling(seed=5)
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 2)
    codes = prior.sample(2, conditioning, sampling)
    assert same_codes(codes, prior.sample(2, conditioning, replace(sampling, method="fixed-point")))
    # By induction over positions, what a full pass over it chooses again is the naive sample: no need for a pass a position.
    for level, drawn in enumerate(codes):
        noise = noise_on_grid(spec, 2, sampling, level)
        assert torch.equal(drawn, choose(full_logits(prior, codes, conditioning, level), noise, sampling))
    if shape == GRIDS[0]:
        assert same_codes(codes, prior.sample(2, conditioning, replace(sampling, method="naive")))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMALL)
def test_the_batch_size_changes_nothing(name: str, method: SamplingMethod) -> None:
    spec = small_spec("metadata", levels=LEVELS[name])
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 7)
    sampling = Sampling(method=method, guidance_scale=2.0)
    whole = prior.sample(7, conditioning, sampling)
    parts = [
        prior.sample(len(rows), conditioning.map(lambda tensor, rows=rows: tensor[rows]), sampling, first=rows[0])
        for rows in ([0, 1, 2], [3], [4, 5, 6])
    ]
    assert same_codes(whole, tuple(torch.cat(level) for level in zip(*parts, strict=True)))


@pytest.mark.parametrize("name", SMALL)
def test_seeds_decide(name: str) -> None:
    spec = small_spec(levels=LEVELS[name])
    prior = small_prior(name, spec)
    one, again, other = (prior.sample(3, sampling=Sampling(seed=seed)) for seed in (1, 1, 2))
    assert same_codes(one, again)
    assert not any(map(torch.equal, one, other))
    for level, shape in zip(one, spec.shapes, strict=True):
        assert not torch.equal(level[0], level[1])
        assert level.dtype == torch.int64
        assert level.shape == (3, *shape)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SMALL)
def test_progress_adds_up_to_one(name: str, method: SamplingMethod) -> None:
    shares: list[float] = []
    small_prior(name, small_spec(levels=LEVELS[name])).sample(2, sampling=Sampling(method=method), advance=shares.append)
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0


@pytest.mark.parametrize("name", SMALL)
def test_dropout_stays_out_of_sampling_and_training_goes_on(name: str) -> None:
    prior = small_prior(name, small_spec(levels=LEVELS[name]), dropout=0.5)
    expected = prior.sample(3)
    prior.train()
    assert same_codes(prior.sample(3), expected)
    assert prior.training
    codes, conditioning = random_codes(prior.spec, 3), Conditioning.unconditional(3, prior.spec)
    for level in range(LEVELS[name]):  # dropout was really there
        assert not torch.equal(prior.logits(level, codes, conditioning), prior.logits(level, codes, conditioning))


@pytest.mark.parametrize("name", SMALL)
def test_fixed_point_needs_few_passes_where_codes_depend_little_on_each_other(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = small_prior(name, small_spec(shape=(16, 8)))
    with torch.no_grad():  # codes say a tenth of what they said
        network(prior).get_parameter("embedding.weight").mul_(0.1)
    rows = Rows(prior, monkeypatch)
    drawn = prior.sample(2, sampling=Sampling(method="fixed-point"))
    assert len(rows.asked) < 128 / 4
    rows.asked.clear()
    assert torch.equal(drawn[0], prior.sample(2, sampling=Sampling(method="naive"))[0])
    assert len(rows.asked) == 128


def test_fixed_point_needs_no_more_passes_than_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []

    def next_code(level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        """Each code is surely the one before plus one: nothing can be drawn before what precedes it."""
        passes.append(level)
        before = F.pad(codes[level].flatten(1)[:, :-1], (1, 0), value=4)
        return 1e4 * F.one_hot((before + 1) % 20, 20).float().transpose(1, 2).unflatten(2, (5, 3))

    prior = small_prior("transformer", small_spec())
    monkeypatch.setattr(prior, "logits", next_code)
    (codes,) = prior.sample(2, sampling=Sampling(method="fixed-point"))
    assert torch.equal(codes.flatten(1), (torch.arange(5, 20) % 20).expand(2, 15))
    assert len(passes) == 15
