"""What each position's logits may depend on: every earlier code, what the prior is told, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from small_priors import (
    CONDITIONING_KINDS,
    LEVELS,
    SMALL,
    VARIANTS,
    network,
    random_codes,
    random_conditioning,
    small_prior,
    small_spec,
)
from vqkit.interfaces import Conditioning
from vqkit.priors.autoregressive import AutoregressivePrior


def dependence(prior: AutoregressivePrior, conditioning: Conditioning) -> Tensor:
    """How strongly the logits at each position of the finest level depend on the code at each of its positions, float64 [P, P].

    Every position has a code of its own, so the gradient at a code's embedding is the gradient at its position. Of the K logits
    a random combination is followed: it is sure to depend on whatever any of them depends on.
    """
    prior.double()
    level = len(prior.spec.shapes) - 1
    shape, cardinality = prior.spec.shapes[level], prior.spec.cardinalities[level]
    positions = shape[0] * shape[1]
    generator = torch.Generator().manual_seed(0)
    codes = torch.randperm(cardinality, generator=generator)[:positions]
    coarser = random_codes(prior.spec, 1)[:level]
    exact = conditioning._replace(
        values=conditioning.values.double(), observed=tuple(level.double() for level in conditioning.observed)
    )
    logits = prior.logits(level, (*coarser, codes.view(1, *shape)), exact)[0].flatten(1)
    combined = torch.randn(cardinality, generator=generator, dtype=torch.float64) @ logits
    weight = network(prior, level).get_parameter("embedding.weight")
    gradients = [torch.autograd.grad(position, weight, retain_graph=True)[0][codes] for position in combined]
    return torch.stack(gradients).abs().amax(dim=2)


def earlier(positions: int) -> Tensor:
    """True [P, P] where the second position comes before the first in raster order."""
    return torch.ones(positions, positions, dtype=torch.bool).tril(-1)


@pytest.mark.parametrize("kind", CONDITIONING_KINDS)
@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_position_sees_every_earlier_one_and_no_other(name: str, options: dict[str, Any], kind: str) -> None:
    spec = small_spec(kind, (5, 3), levels=LEVELS[name])
    found = dependence(small_prior(name, spec, **options), random_conditioning(spec, 1))
    assert torch.equal(found > 0, earlier(15))


@pytest.mark.parametrize("name", SMALL)
def test_a_wide_grid_is_no_different(name: str) -> None:
    spec = small_spec(shape=(3, 7), codes=21, levels=LEVELS[name])
    found = dependence(small_prior(name, spec, layers=5), random_conditioning(spec, 1))
    assert torch.equal(found > 0, earlier(21))


def test_a_deep_pixelcnn_of_small_kernels_has_no_blind_spot() -> None:
    spec = small_spec(shape=(7, 5), codes=35)
    found = dependence(small_prior("pixelcnn", spec, layers=7, first_kernel=3), random_conditioning(spec, 1))
    assert torch.equal(found > 0, earlier(35))


@pytest.mark.parametrize(("layers", "first_kernel", "reach"), [(1, 3, 1), (2, 3, 2), (1, 5, 2), (2, 5, 3)])
def test_a_shallow_pixelcnn_sees_exactly_what_its_layers_reach(layers: int, first_kernel: int, reach: int) -> None:
    height, width = 7, 5
    spec = small_spec(shape=(height, width), codes=35)
    found = dependence(small_prior("pixelcnn", spec, layers=layers, first_kernel=first_kernel), random_conditioning(spec, 1)) > 0
    rows, columns = torch.arange(35) // width, torch.arange(35) % width
    above, left = rows[:, None] - rows, columns[:, None] - columns
    expected = ((above >= 1) & (above <= reach) & (left.abs() <= reach)) | ((above == 0) & (left >= 1) & (left <= reach))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_changing_a_code_changes_later_logits_alone(name: str, options: dict[str, Any]) -> None:
    spec = small_spec(levels=LEVELS[name])
    prior, conditioning = small_prior(name, spec, **options), random_conditioning(spec, 1)
    *coarser, codes = random_codes(spec, 1)
    level = len(coarser)
    before = prior.logits(level, (*coarser, codes), conditioning).flatten(2)
    for position in range(15):
        changed = codes.clone().flatten(1)
        changed[:, position] = (changed[:, position] + 1) % 20
        after = prior.logits(level, (*coarser, changed.view_as(codes)), conditioning).flatten(2)
        same = (before == after).all(dim=1)[0]
        assert bool(same[: position + 1].all())
        assert not bool(same[position + 1 :].any())


@pytest.mark.parametrize("kind", CONDITIONING_KINDS[1:])
@pytest.mark.parametrize(("name", "level"), [(name, level) for name in SMALL for level in range(LEVELS[name])])
def test_every_position_depends_on_everything_that_is_told(name: str, level: int, kind: str) -> None:
    spec = small_spec(kind, levels=LEVELS[name])
    prior, conditioning = small_prior(name, spec), random_conditioning(spec, 1)
    codes = random_codes(spec, 1)
    before = prior.logits(level, codes, conditioning)
    others = [conditioning._replace(labels=(conditioning.labels + 1) % 3)] if spec.classes else []
    for column in range(len(spec.conditions)):
        values = conditioning.values.clone()
        values[:, column] += 5
        others.append(conditioning._replace(values=values))
    for corner in ((0, 0), (-1, -1)) if spec.observed_channels else ():
        maps = [each.clone() for each in conditioning.observed]
        maps[level][:, 0, corner[0], corner[1]] += 3
        others.append(conditioning._replace(observed=tuple(maps)))
    assert others
    for other in others:
        difference = (prior.logits(level, codes, other) - before).abs().amax(dim=1)
        assert bool((difference > 1e-4).all())


@pytest.mark.parametrize("name", SMALL)
def test_a_map_is_told_cell_by_cell(name: str) -> None:
    spec, level = small_spec("observed", levels=LEVELS[name]), LEVELS[name] - 1
    prior, conditioning, codes = small_prior(name, spec), random_conditioning(spec, 1), random_codes(spec, 1)
    before = prior.logits(level, codes, conditioning).flatten(2)
    for position in range(15):

        def elsewhere(module: nn.Module, inputs: object, features: Tensor, cell: int = position) -> Tensor:
            flat = features.flatten(2).clone()
            flat[:, :, cell] += 3
            return flat.view_as(features)

        with network(prior, level).get_submodule("conditions").register_forward_hook(elsewhere):
            changed = (prior.logits(level, codes, conditioning).flatten(2) != before).any(dim=1)[0]
        assert bool(changed[position])
        assert not bool(changed[: position // 3 * 3].any())  # in its own row, a PixelCNN also looks ahead at what it is told


@pytest.mark.parametrize(("one", "other"), [(3, 4), (1, 7)])
def test_one_transformer_layer_knows_where_codes_are(one: int, other: int) -> None:
    # Without positions a layer of attention sees a bag of codes: exchanging two of a row, or of a column, would change nothing.
    spec = small_spec()
    prior, conditioning = small_prior("transformer", spec, layers=1), random_conditioning(spec, 1)
    codes = random_codes(spec, 1)[0].flatten(1)
    exchanged = codes.clone()
    exchanged[:, [one, other]] = codes[:, [other, one]]
    assert not torch.equal(codes, exchanged)
    before, after = (
        prior.logits(0, (each.view(1, 5, 3),), conditioning).flatten(2)[:, :, other + 2 :] for each in (codes, exchanged)
    )
    assert bool(((before - after).abs().amax(dim=1) > 1e-4).all())
