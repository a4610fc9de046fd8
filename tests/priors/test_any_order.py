"""The masked prior: what a prediction sees, exact likelihoods of orders, samples that follow them, kept codes, revisions."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from small_priors import CONDITIONING_KINDS, random_codes, random_conditioning, same_codes, small_prior, small_spec
from vqkit.errors import ConfigError
from vqkit.interfaces import Codes, CodeSpec, Conditioning
from vqkit.interfaces.priors import Sampling
from vqkit.priors.codes_so_far import CodesSoFar
from vqkit.priors.masked import KeptCodes, MaskedPrior
from vqkit.priors.orders import Order, ranks_of
from vqkit.registry import PRIORS


def masked(spec: CodeSpec, **options: object) -> MaskedPrior:
    prior = small_prior("masked", spec, **options)
    assert isinstance(prior, MaskedPrior)
    return prior


def one_order(order: Tensor, steps: Tensor | None = None) -> Order:
    """An order given as positions; `steps` by place in it, by default one code a step."""
    ranks = ranks_of(order)
    return Order(ranks[None], (ranks if steps is None else steps[ranks])[None])


def every_grid(spec: CodeSpec) -> Codes:
    """Everything that 3 codes can be on a level of 2 x 2 positions."""
    return (torch.tensor(list(itertools.product(range(3), repeat=4))).view(-1, *spec.shapes[0]),)


def repeated(conditioning: Conditioning, count: int) -> Conditioning:
    return conditioning.map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))


@torch.no_grad()
def test_probabilities_sum_to_one_in_every_order_and_the_bound_is_above_their_mean() -> None:
    spec = small_spec("metadata", (2, 2), codes=3)
    prior, grids = masked(spec), every_grid(spec)
    given = repeated(random_conditioning(spec, 1), len(grids[0]))
    log_probabilities = []
    for order in itertools.permutations(range(4)):
        nll = prior.level_nll(0, grids, given, one_order(torch.tensor(order))).double().flatten(1).sum(dim=1)
        log_probabilities.append(-nll)
        assert float((-nll).exp().sum()) == pytest.approx(1, abs=1e-6)
    each = torch.stack(log_probabilities)
    mean_cost = -each.mean(dim=0)
    exact = math.log(len(each)) - each.logsumexp(dim=0)  # of codes whose order was drawn at random
    assert bool((mean_cost >= exact - 1e-9).all())
    assert float((mean_cost - exact).max()) > 1e-3  # the orders differ, or this would be easy
    estimates = torch.stack([prior.bound(grids, given, 50, seed=seed)[0].flatten(1).sum(dim=1) for seed in range(20)])
    deviation = estimates.std(dim=0) / 20**0.5
    assert bool(((estimates.mean(dim=0) - mean_cost).abs() < 5 * deviation + 1e-6).all())


@torch.no_grad()
@pytest.mark.parametrize("steps", [[0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1], [0, 1, 2, 3]])
def test_probabilities_of_codes_drawn_together_sum_to_one(steps: list[int]) -> None:
    spec = small_spec("none", (2, 2), codes=3)
    prior, grids = masked(spec), every_grid(spec)
    order = one_order(torch.tensor([2, 0, 3, 1]), torch.tensor(steps))
    nll = prior.level_nll(0, grids, Conditioning.unconditional(len(grids[0]), spec), order).double()
    assert float((-nll.flatten(1).sum(dim=1)).exp().sum()) == pytest.approx(1, abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("order", [None, "raster"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_samples_are_as_frequent_as_they_are_probable_in_so_many_steps(steps: int, order: str | None) -> None:
    spec, count = small_spec("class", (2, 2), codes=3), 4000
    prior, grids = masked(spec), every_grid(spec)
    conditioning, sampling = random_conditioning(spec, 1), Sampling(seed=1, draw_steps=steps, order=order)
    nll = prior.steps_nll(grids, repeated(conditioning, len(grids[0])), sampling)[0].double().flatten(1).sum(dim=1)
    expected = count * (-nll).exp()
    drawn = prior.sample(count, repeated(conditioning, count), sampling)[0].flatten(1)
    found = (drawn @ 3 ** torch.arange(3, -1, -1)).bincount(minlength=len(expected))
    rare = expected < 5
    observed, due = (torch.cat([each[~rare], each[rare].sum()[None]]) for each in (found.double(), expected))
    statistic, freedom = ((observed - due).square() / due.clamp(min=1)).sum(), len(due) - 1
    assert abs(float(statistic) - freedom) < 4 * (2 * freedom) ** 0.5
    other = (
        count
        * (
            -prior.steps_nll(grids, repeated(conditioning, len(grids[0])), Sampling(draw_steps=5 - steps if steps != 2 else 4))[0]
            .double()
            .flatten(1)
            .sum(dim=1)
        ).exp()
    )
    assert float(((found - other).square() / other.clamp(min=1)).sum()) > statistic


@pytest.mark.parametrize("kind", CONDITIONING_KINDS)
def test_a_prediction_depends_on_all_codes_of_earlier_steps_and_on_no_others(kind: str) -> None:
    spec = small_spec(kind, (4, 3), codes=12)
    prior = masked(spec).double()
    conditioning = random_conditioning(spec, 1)
    exact = conditioning._replace(
        values=conditioning.values.double(), observed=tuple(level.double() for level in conditioning.observed)
    )
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(12, generator=generator)
    steps = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3, 3, 4, 5])
    codes = torch.randperm(12, generator=generator)  # a code of its own for each position
    logits = prior.logits(0, (codes.view(1, 4, 3),), exact, one_order(order, steps))[0].flatten(1)
    combined = torch.randn(12, generator=generator, dtype=torch.float64) @ logits
    weight = prior.networks[0].get_parameter("embedding.weight")
    gradients = [torch.autograd.grad(each, weight, retain_graph=True)[0][codes] for each in combined]
    seen = torch.stack(gradients).abs().amax(dim=2) > 0
    step_of = steps[ranks_of(order)]
    assert torch.equal(seen, step_of[None, :] < step_of[:, None])


@torch.no_grad()
@pytest.mark.parametrize("level", [0, 1])
def test_logits_of_codes_so_far_are_those_of_a_full_pass(level: int) -> None:
    spec = small_spec("metadata+observed", (6, 5), levels=2)
    prior, codes, given = masked(spec), random_codes(spec, 3), random_conditioning(spec, 3)
    features = prior.condition_features(level, codes[:level], given)
    own = codes[level].flatten(1)
    orders = torch.stack([torch.randperm(own.shape[1], generator=torch.Generator().manual_seed(seed)) for seed in range(3)])
    ranks = ranks_of(orders)
    full = prior.logits(level, codes, given, Order(ranks, ranks // 4)).flatten(2).transpose(1, 2)
    state = CodesSoFar(prior.networks[level], features, 3)
    for group in orders.split(4, dim=1):
        found = state.logits(group)
        torch.testing.assert_close(found, full.gather(1, group[..., None].expand_as(found)), rtol=1e-5, atol=1e-5)
        state.add(own.gather(1, group), group, torch.ones_like(group, dtype=torch.bool))


@torch.no_grad()
@pytest.mark.parametrize("level", [0, 1])
def test_logits_given_any_codes_are_those_of_an_order_in_which_these_come_first(level: int) -> None:
    spec = small_spec("metadata+observed", (6, 5), levels=2)
    prior, codes, given = masked(spec), random_codes(spec, 3), random_conditioning(spec, 3)
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(3, *spec.shapes[level], generator=generator) < 0.4
    known[0] = False
    hidden = (~known).flatten(1)
    order = Order(ranks_of((prior.order(level).ranks + 100 * hidden).argsort(dim=1)), hidden.long())
    full = prior.logits(level, codes, given, order).flatten(2).transpose(1, 2)
    positions = hidden.long().argsort(dim=1, descending=True)[:, :4]
    assert prior.conditions is not None
    found = prior.logits_given(level, codes[: level + 1], known, positions, prior.conditions(given, level))
    torch.testing.assert_close(found, full.gather(1, positions[..., None].expand_as(found)), rtol=1e-5, atol=1e-5)


SETTINGS = [
    Sampling(seed=3),
    Sampling(seed=3, draw_steps=4, order="random"),
    Sampling(seed=3, draw_steps=4, order="confidence"),
    Sampling(seed=3, draw_steps=1000, order="raster"),
    Sampling(seed=3, draw_steps=4, revisions=3),
    Sampling(seed=3, guidance_scale=2.0),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_sample_is_the_same_alone_and_in_a_batch(settings: Sampling) -> None:
    spec = small_spec("metadata", (6, 4), levels=2)
    prior, given = masked(spec), random_conditioning(spec, 5)
    together = prior.sample(5, given, settings)
    for number in range(5):
        alone = prior.sample(1, given.map(lambda tensor, row=number: tensor[row : row + 1]), settings, first=number)
        assert same_codes(alone, tuple(level[number : number + 1] for level in together))
    assert not same_codes(together, prior.sample(5, given, Sampling(**{**vars(settings), "seed": 4})))


def test_orders_steps_and_revisions_change_samples() -> None:
    spec = small_spec("none", (6, 4))
    prior = masked(spec)
    drawn = [prior.sample(4, sampling=settings)[0] for settings in SETTINGS[:-1]]
    for one, other in itertools.combinations(drawn, 2):
        assert not torch.equal(one, other)


@pytest.mark.parametrize("settings", SETTINGS)
def test_kept_codes_stay_and_are_seen(settings: Sampling) -> None:
    spec, count = small_spec("metadata", (6, 4), levels=2), 40
    prior, given = masked(spec), random_conditioning(spec, count)
    codes = random_codes(spec, count)
    generator = torch.Generator().manual_seed(0)
    known = tuple(torch.rand(level.shape, generator=generator) < share for level, share in zip(codes, (1.1, 0.5), strict=True))
    known[1][0], known[1][1] = True, False  # all of them kept, and none
    drawn = prior.sample(count, given, settings, kept=KeptCodes(codes, known))
    for level in range(2):
        assert torch.equal(drawn[level][known[level]], codes[level][known[level]])
    others = tuple((level + 1) % size for level, size in zip(codes, spec.cardinalities, strict=True))
    changed = prior.sample(count, given, settings, kept=KeptCodes((codes[0], others[1]), known))
    assert torch.equal(changed[1][1], drawn[1][1])
    assert not torch.equal(changed[1][~known[1]], drawn[1][~known[1]])


@pytest.mark.parametrize("settings", SETTINGS)
def test_samples_with_different_numbers_of_kept_codes_are_drawn_as_alone(settings: Sampling) -> None:
    spec = small_spec("metadata", (6, 4))
    prior, given, codes = masked(spec), random_conditioning(spec, 5), random_codes(spec, 5)
    known = (torch.arange(24).view(6, 4) < torch.tensor([0, 3, 9, 23, 24])[:, None, None],)
    together = prior.sample(5, given, settings, kept=KeptCodes(codes, known))
    for number in range(5):
        row = slice(number, number + 1)
        alone = prior.sample(
            1, given.map(lambda tensor, row=row: tensor[row]), settings, number, kept=KeptCodes((codes[0][row],), (known[0][row],))
        )
        assert torch.equal(alone[0], together[0][row])


@torch.no_grad()
def test_kept_codes_decide_what_is_drawn_from_their_exact_conditional() -> None:
    spec, count = small_spec("none", (2, 2), codes=3), 6000
    prior, grids = masked(spec), every_grid(spec)
    order = one_order(torch.tensor([2, 0, 3, 1]))  # kept codes come first, among them in the Halton order, which is 2, 1, 0, 3
    kept = torch.tensor([True, False, True, True])
    given = torch.tensor([1, 0, 2, 0])
    fitting = (grids[0].flatten(1)[:, kept] == given[kept]).all(dim=1)
    nll = prior.level_nll(0, (grids[0][fitting],), Conditioning.unconditional(3, spec), order)[:, 0, 1]
    drawn = prior.sample(
        count, kept=KeptCodes((given.view(1, 2, 2).expand(count, -1, -1),), (kept.view(1, 2, 2).expand(count, -1, -1),))
    )[0][:, 0, 1]
    assert torch.allclose(drawn.bincount(minlength=3) / count, (-nll).exp(), atol=0.025)


def test_revisions_in_the_end_draw_from_what_all_others_suggest() -> None:
    spec = small_spec("none", (2, 1), codes=3)
    prior, count = masked(spec), 4000
    grids = torch.tensor(list(itertools.product(range(3), repeat=2))).view(-1, 2, 1)
    sampled = prior.sample(count, sampling=Sampling(draw_steps=2, revisions=1))[0].flatten(1)
    plain = prior.sample(count, sampling=Sampling(draw_steps=2))[0].flatten(1)
    assert ((sampled != plain).sum(dim=1) <= 1).all()  # one of the two codes at most is drawn again
    with torch.no_grad():
        given = Conditioning.unconditional(9, spec)
        joint, back = (
            (-prior.level_nll(0, (grids,), given, one_order(torch.tensor(order))).flatten(1).double()).exp().view(3, 3, 2)
            for order in ([0, 1], [1, 0])
        )
    start = joint.prod(dim=2) if prior.order(0).ranks[0, 0] == 0 else back.prod(dim=2)
    second = start.sum(dim=1, keepdim=True) * joint[:, :, 1]  # the second anew, given the first
    first = start.sum(dim=0, keepdim=True) * back[:, :, 0]
    expected = (first + second) / 2
    found = (sampled @ torch.tensor([3, 1])).bincount(minlength=9).view(3, 3) / count
    assert torch.allclose(found.double(), expected, atol=0.03)


def test_training_takes_another_order_each_time_and_evaluation_one() -> None:
    spec = small_spec("none", (5, 4))
    prior, codes = masked(spec), random_codes(spec, 3)
    conditioning = Conditioning.unconditional(3, spec)
    assert torch.equal(prior.nll(codes, conditioning)[0], prior.nll(codes, conditioning)[0])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior.train()
        first, second = (prior.nll(codes, conditioning)[0] for _ in range(2))
    assert not torch.equal(first, second)


def test_a_level_is_conditioned_on_all_coarser_ones() -> None:
    spec = small_spec("none", (8, 4), levels=3)
    prior, codes = masked(spec), random_codes(spec, 2)
    conditioning = Conditioning.unconditional(2, spec)
    before = prior.nll(codes, conditioning)
    for level in range(3):
        changed = tuple((own + 1) % 20 if number == level else own for number, own in enumerate(codes))
        after = prior.nll(changed, conditioning)
        for number in range(3):
            assert torch.equal(before[number], after[number]) == (number < level)


def test_what_only_raster_priors_or_only_this_one_can_do_is_refused() -> None:
    spec = small_spec()
    with pytest.raises(ConfigError, match="draws in any order"):
        masked(spec).sample(1, sampling=Sampling(method="naive"))
    for name, value in {"draw_steps": 3, "order": "random", "revisions": 1}.items():
        with pytest.raises(ConfigError, match=f"raster order; --{name.replace('_', '-')} was given"):
            small_prior("pixelcnn", spec).sample(1, sampling=Sampling(**{name: value}))


@pytest.mark.parametrize("options", [{"width": 20, "head_width": 8}])
def test_a_width_that_heads_do_not_divide_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be a multiple of head_width"):
        PRIORS.build("masked", options, small_spec())


def test_progress_adds_up_to_one_with_kept_codes_and_revisions() -> None:
    spec = small_spec("none", (6, 4), levels=2)
    for settings in (Sampling(), Sampling(draw_steps=3, revisions=2)):
        done: list[float] = []
        masked(spec).sample(3, sampling=settings, advance=done.append)
        assert sum(done) == pytest.approx(1)
