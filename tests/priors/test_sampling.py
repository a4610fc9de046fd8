"""How a code is drawn from logits: what is allowed, with which noise, and which settings are refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces.priors import Sampling
from vqkit.priors.sampling import choose, guide, gumbel_noise

DRAWS = 40_000


def random_logits(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def allowed_codes(logits: Tensor, sampling: Sampling) -> set[int]:
    """The codes that can be drawn from logits [K]: each is given noise that would make any allowed code win."""
    noise = 1e4 * torch.eye(len(logits))
    drawn = choose(logits.expand_as(noise), noise, sampling)
    return {code for code, chosen in enumerate(drawn.tolist()) if chosen == code}


def allowed_by_hand(logits: Tensor, sampling: Sampling) -> set[int]:
    """The same, one code after another from the most probable on."""
    ranked = sorted(range(len(logits)), key=lambda code: -float(logits[code]))[: sampling.top_k]
    weights = [math.exp(float(logits[code]) / sampling.temperature) for code in ranked]
    kept, probability = set(), 0.0
    for code, weight in zip(ranked, weights, strict=True):
        if probability < (sampling.top_p or 1):
            kept.add(code)
        probability += weight / sum(weights)
    return kept


@settings(max_examples=80, deadline=None)
@given(
    codes=st.integers(1, 12),
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.5, 1.0, 2.0]),
    top_k=st.none() | st.integers(1, 15),
    top_p=st.none() | st.floats(0.01, 0.99),
)
def test_top_k_and_top_p_equal_brute_force(
    codes: int, seed: int, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    logits, sampling = random_logits(codes, seed=seed), Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    assert allowed_codes(logits, sampling) == allowed_by_hand(logits, sampling)


def test_top_p_by_numbers() -> None:
    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()
    found = {top_p: allowed_codes(logits, Sampling(top_p=top_p)) for top_p in (0.3, 0.6, 0.8, 0.95, 1.0)}
    assert found == {0.3: {1}, 0.6: {1, 3}, 0.8: {1, 3, 2}, 0.95: {0, 1, 2, 3}, 1.0: {0, 1, 2, 3}}
    # After top-k, what is left counts as a whole: 0.5 of 0.75.
    assert allowed_codes(logits, Sampling(top_k=2, top_p=0.6)) == {1}


@pytest.mark.parametrize("top_p", [1e-9, 1e-3])
def test_top_p_keeps_the_most_probable_code(top_p: float) -> None:
    logits = random_logits(100, 50)
    noise = gumbel_noise(0, 0, 0, 100, 1, 50)[:, 0]
    assert torch.equal(choose(logits, noise, Sampling(top_p=top_p)), logits.argmax(dim=1))


def test_top_k_one_and_low_temperatures_are_greedy() -> None:
    logits = random_logits(100, 50)
    noise = gumbel_noise(0, 0, 0, 100, 1, 50)[:, 0]
    assert torch.equal(choose(logits, noise, Sampling(top_k=1)), logits.argmax(dim=1))
    assert torch.equal(choose(logits, noise, Sampling(temperature=1e-6)), logits.argmax(dim=1))
    assert not torch.equal(choose(logits, noise, Sampling()), logits.argmax(dim=1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_codes_are_as_frequent_as_they_are_probable(temperature: float) -> None:
    logits = random_logits(6)
    noise = gumbel_noise(1, 0, 0, 1, DRAWS, 6)[0]
    drawn = choose(logits.expand(DRAWS, 6), noise, Sampling(temperature=temperature)).bincount(minlength=6) / DRAWS
    expected = (logits / temperature).softmax(dim=0)
    deviation = (expected * (1 - expected) / DRAWS).sqrt()
    assert bool(((drawn - expected).abs() < 4 * deviation + 1e-9).all())


def test_what_top_k_leaves_keeps_its_proportions() -> None:
    logits = random_logits(6)
    noise = gumbel_noise(2, 0, 0, 1, DRAWS, 6)[0]
    drawn = choose(logits.expand(DRAWS, 6), noise, Sampling(top_k=3)).bincount(minlength=6) / DRAWS
    best = logits.topk(3).indices
    assert float(drawn[best].sum()) == pytest.approx(1)
    torch.testing.assert_close(drawn[best], logits[best].softmax(dim=0), rtol=0, atol=0.01)


def test_low_precision_logits_are_taken_as_they_are() -> None:
    logits = random_logits(100, 50).bfloat16()
    noise = gumbel_noise(0, 0, 0, 100, 1, 50)[:, 0]
    assert torch.equal(choose(logits, noise, Sampling(top_p=0.9)), choose(logits.float(), noise, Sampling(top_p=0.9)))


def test_noise_is_a_function_of_seed_level_and_number() -> None:
    whole = gumbel_noise(7, 0, 10, 5, 3, 4)
    assert whole.shape == (5, 3, 4)
    assert whole.dtype == torch.float32
    parts = [gumbel_noise(7, 0, 10, 2, 3, 4), gumbel_noise(7, 0, 12, 3, 3, 4)]
    assert torch.equal(torch.cat(parts), whole)
    for other in (gumbel_noise(8, 0, 10, 5, 3, 4), gumbel_noise(7, 1, 10, 5, 3, 4), gumbel_noise(7, 0, 11, 5, 3, 4)):
        assert not bool((other == whole).any())
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    assert torch.equal(gumbel_noise(7, 0, 10, 5, 3, 4), whole)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel_noise(0, 0, 0, 100, 100, 20).flatten().double()
    count = len(noise)
    assert bool(noise.isfinite().all())
    assert float(noise.mean()) == pytest.approx(0.5772157, abs=4 * math.pi / (6 * count) ** 0.5)
    assert float(noise.var()) == pytest.approx(math.pi**2 / 6, rel=0.02)
    for threshold in (-1.0, 0.0, 2.0, 5.0):
        below = math.exp(-math.exp(-threshold))
        assert float((noise < threshold).double().mean()) == pytest.approx(below, abs=4 * (below * (1 - below) / count) ** 0.5)


def test_guidance_by_numbers() -> None:
    conditional, unconditional = torch.tensor([3.0, 1.0]), torch.tensor([2.0, 2.0])
    for scale, expected in ((0, [2, 2]), (1, [3, 1]), (2, [4, 0]), (0.5, [2.5, 1.5])):
        assert guide(conditional, unconditional, scale).tolist() == expected


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"temperature": 0.0}, r"The temperature is 0; it must be above 0\."),
        ({"temperature": -1.0}, r"The temperature is -1; it must be above 0\."),
        ({"temperature": float("nan")}, r"The temperature is nan"),
        ({"temperature": float("inf")}, r"The temperature is inf"),
        ({"temperature": (1.0, 0.0)}, r"The temperature is 0; it must be above 0\."),
        ({"temperature": ()}, r"tuple of temperatures is empty"),
        ({"top_k": 0}, r"top-k is 0; it must be at least 1\."),
        ({"top_k": -3}, r"top-k is -3"),
        ({"top_p": 0.0}, r"top-p is 0; it must be in \(0, 1\]\."),
        ({"top_p": 1.5}, r"top-p is 1\.5; it must be in \(0, 1\]\."),
        ({"top_p": float("nan")}, r"top-p is nan"),
        ({"guidance_scale": -0.5}, r"The guidance scale is -0\.5; it must be 0 or more\."),
        ({"guidance_scale": float("nan")}, r"The guidance scale is nan"),
        ({"method": "cache"}, r"There is no sampling method 'cache'\."),
    ],
)
def test_settings_that_mean_nothing_are_refused(given_settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Sampling(**given_settings)  # type: ignore[arg-type]
    assert error.value.hint


def test_settings_at_the_edge_are_fine() -> None:
    edge = Sampling(temperature=1e-3, top_k=1, top_p=1.0, guidance_scale=0.0, method="naive")
    assert (edge.top_k, edge.top_p, edge.guidance_scale) == (1, 1.0, 0.0)


@pytest.mark.parametrize("temperatures", [(0.5, 2.0), [0.5, 2.0]])
def test_a_temperature_for_each_level(temperatures: tuple[float, ...]) -> None:
    sampling = Sampling(temperature=temperatures, top_k=3, seed=4)
    assert sampling.by_level(("top", "bottom")) == (
        Sampling(temperature=0.5, top_k=3, seed=4),
        Sampling(temperature=2.0, top_k=3, seed=4),
    )
    with pytest.raises(ConfigError, match=r"2 temperatures were given for the levels of codes codes\."):
        sampling.by_level(("codes",))


def test_one_temperature_is_for_all_levels() -> None:
    sampling = Sampling(temperature=0.5)
    assert sampling.by_level(("top", "middle", "bottom")) == (sampling,) * 3
