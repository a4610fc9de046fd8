"""The cost of a code given all others, against enumeration of everything that the code can be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from small_priors import random_codes, random_conditioning, small_prior, small_spec
from vqkit.interfaces import CodeSpec
from vqkit.priors.left_out import lattices, left_out_nll, order_with_last, predicts_left_out
from vqkit.priors.masked import MaskedPrior
from vqkit.priors.orders import Order, halton_order, ranks_of


def masked(spec: CodeSpec) -> MaskedPrior:
    prior = small_prior("masked", spec)
    assert isinstance(prior, MaskedPrior)
    return prior


def with_code(codes: Tensor, position: int, value: int) -> Tensor:
    """Codes [B, h, w] with another value at one position."""
    changed = codes.flatten(1).clone()
    changed[:, position] = value
    return changed.view(codes.shape)


@torch.no_grad()
@pytest.mark.parametrize("levels", [1, 2])
def test_it_is_the_conditional_probability_among_everything_that_the_code_can_be(levels: int) -> None:
    spec = small_spec("metadata", (2, 2), codes=3, levels=levels)
    prior, codes, given = masked(spec), random_codes(spec, 4), random_conditioning(spec, 4)
    found = left_out_nll(prior, codes, given, spacing=2)[-1].flatten(1)  # of 2 x 2 codes one is hidden at a time
    level = levels - 1
    for position in range(4):
        before = [each for each in halton_order(2, 2).tolist() if each != position]
        ranks = ranks_of(torch.tensor([*before, position]))[None]
        costs = []
        for value in range(3):
            grids = (*codes[:level], with_code(codes[level], position, value))
            costs.append(prior.level_nll(level, grids, given, Order(ranks, ranks)).double().flatten(1).sum(dim=1))
        joint = -torch.stack(costs, dim=1)
        conditional = joint - joint.logsumexp(dim=1, keepdim=True)
        expected = -conditional.gather(1, codes[level].flatten(1)[:, position, None])[:, 0]
        torch.testing.assert_close(found[:, position].double(), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_codes_that_are_hidden_together_do_not_see_each_other_and_see_all_others() -> None:
    spec = small_spec(shape=(4, 4))
    prior, (codes,), given = masked(spec), random_codes(spec, 1), random_conditioning(spec, 1)
    before = left_out_nll(prior, (codes,), given)[0][0]
    after = left_out_nll(prior, (with_code(codes, 5, (int(codes[0, 1, 1]) + 1) % 20),), given)[0][0]
    together = torch.zeros(4, 4, dtype=torch.bool)
    together[1::2, 1::2] = True
    others = together.clone()
    others[1, 1] = False
    assert torch.equal(before[others], after[others])
    assert bool((before[~together] != after[~together]).all()) and before[1, 1] != after[1, 1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 3), (4, 8)])
@pytest.mark.parametrize("spacing", [1, 2, 3, 9])
def test_every_position_is_hidden_once_and_those_hidden_together_are_apart(shape: tuple[int, int], spacing: int) -> None:
    masks = list(lattices(*shape, spacing))
    assert torch.equal(torch.stack(masks).sum(dim=0), torch.ones(shape, dtype=torch.int64))
    assert len(masks) == min(spacing, shape[0]) * min(spacing, shape[1])
    for hidden in masks:
        places = hidden.nonzero()
        apart = (places[:, None] - places[None]).abs().amax(dim=2)
        assert bool((apart[apart > 0] >= spacing).all())
        order = order_with_last(hidden)
        assert sorted(order.ranks[0].tolist()) == list(range(hidden.numel()))
        assert bool((order.ranks[0][hidden.flatten()] >= int((~hidden).sum())).all())


def test_priors_in_raster_order_are_refused() -> None:
    spec = small_spec()
    prior = small_prior("pixelcnn", spec)
    assert not predicts_left_out(prior) and predicts_left_out(masked(spec))
    with pytest.raises(TypeError, match="PixelCNN does not predict codes from all others"):
        left_out_nll(prior, random_codes(spec, 1), random_conditioning(spec, 1))
