"""The hierarchical prior: what each level may see of the others, levels that learn apart, and its programmatic interface."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from small_priors import LEVELS, SMALL, random_codes, random_conditioning, same_codes, small_prior, small_spec
from vqkit.errors import ConfigError
from vqkit.inference.conditioning import code_spec
from vqkit.interfaces import Codes, CodeSpec, Conditioning, ConditionSpec, DataSpec
from vqkit.interfaces.priors import Sampling
from vqkit.models.vqvae2 import VQVAE2
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.priors.hierarchical import HierarchicalPixelCNN
from vqkit.registry import MODELS, PRIORS

NAME = "hierarchical"
SAME_GRID = CodeSpec(("codes_1", "codes_2", "codes_3"), ((5, 3),) * 3, (20, 12, 20))
"""Levels as a residual quantizer of depth 3 gives them."""
STEEP = CodeSpec(("top", "bottom"), ((2, 1), (8, 4)), (20, 20))
"""Each top code stands over 4 x 4 bottom codes."""
SPECS = {"two": small_spec(levels=2), "three": small_spec(levels=3), "same-grid": SAME_GRID, "steep": STEEP}


def hierarchical(spec: CodeSpec, **options: Any) -> HierarchicalPixelCNN:
    prior = small_prior(NAME, spec, **options)
    assert isinstance(prior, HierarchicalPixelCNN)
    return prior


def all_logits(prior: AutoregressivePrior, codes: Codes, conditioning: Conditioning) -> list[Tensor]:
    with torch.no_grad():
        return [prior.logits(level, codes[: level + 1], conditioning) for level in range(len(codes))]


def two_levels() -> tuple[VQVAE2, HierarchicalPixelCNN]:
    """A small tokenizer and a prior for it."""
    data = DataSpec.uniform("toy", ("a", "b"), 32, 16, "binary", conditions=(ConditionSpec("width_px", 0, 16, 8, 4),))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS.build("vqvae2", {"hidden": 8, "inner": 8, "quantizer": {"num_codes": 20, "dim": 4}}, data)
    return model.eval(), hierarchical(code_spec(model, ()))


@pytest.mark.parametrize("kind", SPECS)
def test_a_level_sees_all_coarser_codes_and_no_finer_one(kind: str) -> None:
    spec = SPECS[kind]
    prior, codes, conditioning = hierarchical(spec, layers=5), random_codes(spec, 1), random_conditioning(spec, 1)
    before = all_logits(prior, codes, conditioning)
    for changed, (height, width) in enumerate(spec.shapes):
        for position in range(height * width):
            other = codes[changed].flatten(1).clone()
            other[:, position] = (other[:, position] + 1) % spec.cardinalities[changed]
            after = all_logits(prior, (*codes[:changed], other.view_as(codes[changed]), *codes[changed + 1 :]), conditioning)
            for level in range(len(codes)):
                moved = (before[level] != after[level]).any(dim=1)[0]
                if level < changed:
                    assert not bool(moved.any())
                elif level == changed:
                    assert not bool(moved.flatten()[: position + 1].any())
                    assert bool(moved.flatten()[position + 1 :].all())
                else:  # where the changed code lies
                    row, column = position // width, position % width
                    down, right = spec.shapes[level][0] / height, spec.shapes[level][1] / width
                    assert bool(moved[math.ceil(row * down), math.ceil(column * right)])


def test_levels_of_one_grid_see_a_code_and_those_around_it_at_once() -> None:
    prior, codes, conditioning = hierarchical(SAME_GRID), random_codes(SAME_GRID, 1), random_conditioning(SAME_GRID, 1)
    before = prior.logits(1, codes, conditioning)
    last = codes[0].clone()
    last[0, -1, -1] = (last[0, -1, -1] + 1) % 20
    moved = (prior.logits(1, (last, *codes[1:]), conditioning) != before).any(dim=1)[0]
    assert bool(moved[-1].all())  # in raster order nothing comes after the last code: only the coarser level can tell of it
    assert bool(moved[-2].all())


def test_a_level_knows_where_in_the_cell_of_a_coarser_code_it_is() -> None:
    spec = CodeSpec(("top", "bottom"), ((3, 3), (12, 12)), (20, 20))
    stack = hierarchical(spec).coarser[0]
    with torch.no_grad():
        inside = stack((torch.zeros(1, 3, 3, dtype=torch.int64),))[0, :, 3:9, 3:9].flatten(1).T  # free of what edges tell
    assert float(torch.pdist(inside).min()) > 0.01


@pytest.mark.parametrize("kind", SPECS)
def test_every_method_draws_the_same_codes_at_every_level(kind: str) -> None:
    spec = SPECS[kind]
    prior, sampling = hierarchical(spec), Sampling(seed=2, temperature=0.9)
    naive = prior.sample(4, sampling=replace(sampling, method="naive"))
    assert [tuple(level.shape) for level in naive] == [(4, *shape) for shape in spec.shapes]
    assert all(int(level.max()) < size for level, size in zip(naive, spec.cardinalities, strict=True))
    for method in ("cached", "fixed-point"):
        assert same_codes(naive, prior.sample(4, sampling=replace(sampling, method=method)))


def test_with_one_level_it_is_the_pixelcnn() -> None:
    spec = small_spec("metadata+observed")
    one, plain = hierarchical(spec), small_prior("pixelcnn", spec)
    one.networks[0].load_state_dict(plain.state_dict())
    codes, conditioning = random_codes(spec, 3), random_conditioning(spec, 3)
    assert torch.equal(one.logits(0, codes, conditioning), plain.logits(0, codes, conditioning))
    assert same_codes(one.sample(3, conditioning), plain.sample(3, conditioning))
    assert len(one.coarser) == 0


def test_each_level_is_told_what_is_seen_on_its_own_grid_alone() -> None:
    spec = small_spec("observed", levels=2)
    prior, codes, conditioning = hierarchical(spec), random_codes(spec, 2), random_conditioning(spec, 2)
    before = all_logits(prior, codes, conditioning)
    for changed in range(2):
        maps = [each + (1 if level == changed else 0) for level, each in enumerate(conditioning.observed)]
        after = all_logits(prior, codes, conditioning._replace(observed=tuple(maps)))
        assert [torch.equal(*logits) for logits in zip(before, after, strict=True)] == [level != changed for level in range(2)]


def test_the_null_condition_leaves_the_coarser_codes_in_sight() -> None:
    spec = small_spec("class", levels=2)
    prior, nothing = hierarchical(spec), Conditioning.unconditional(2, spec)
    (top, bottom), (other, _) = random_codes(spec, 2), random_codes(spec, 2, seed=1)
    difference = (prior.logits(1, (top, bottom), nothing) - prior.logits(1, (other, bottom), nothing)).abs().amax(dim=1)
    assert bool((difference > 1e-4).all())


def test_the_loss_is_computed_by_forward_which_can_be_compiled() -> None:
    _, prior = two_levels()
    called: list[str] = []
    prior.register_forward_hook(lambda *arguments: called.append("forward"))
    codes = tuple(torch.zeros(2, *shape, dtype=torch.int64) for shape in prior.spec.shapes)
    losses = prior.loss_function(*codes)
    assert called == ["forward"]
    expected = [prior.level_nll(level, codes, Conditioning.unconditional(2, prior.spec, codes[0].device)) for level in (0, 1)]
    torch.testing.assert_close(losses["total_loss"], torch.cat([each.flatten() for each in expected]).mean())


@pytest.mark.parametrize("trained", [("top",), ("bottom",), ("bottom", "top")])
def test_only_the_trained_levels_learn(trained: tuple[str, ...]) -> None:
    spec = small_spec("class", levels=2)
    prior, codes, conditioning = hierarchical(spec), random_codes(spec, 4), random_conditioning(spec, 4)
    assert prior.trained_levels == ("top", "bottom")
    everything = prior.loss_function(*codes, conditioning=conditioning)
    prior.trained_levels = trained
    losses = prior.loss_function(*codes, conditioning=conditioning)
    assert set(losses) == {"total_loss", *trained}
    for name in trained:
        torch.testing.assert_close(losses[name], everything[name])
    nll = [level for level, name in zip(prior.nll(codes, conditioning), spec.level_names, strict=True) if name in trained]
    torch.testing.assert_close(losses["total_loss"], torch.cat([level.flatten() for level in nll]).mean())
    before = {name: value.clone() for name, value in prior.state_dict().items()}
    optimizer = torch.optim.AdamW(prior.parameters(), 1e-2, weight_decay=0.1)
    losses["total_loss"].backward()
    optimizer.step()
    moved = {name for name, value in prior.state_dict().items() if not torch.equal(value, before[name])}
    parts = {"top": ("networks.0.",), "bottom": ("networks.1.", "coarser.0.")}
    allowed = tuple(prefix for name in trained for prefix in parts[name])
    assert moved
    assert all(any(name.startswith(prefix) for name in moved) for prefix in allowed)
    assert all(name.startswith(allowed) for name in moved)
    assert all(parameter.requires_grad is name.startswith(allowed) for name, parameter in prior.named_parameters())
    prior.trained_levels = ("top", "bottom")
    assert all(parameter.requires_grad for parameter in prior.parameters())


def test_levels_that_are_not_there_cannot_be_trained() -> None:
    prior = hierarchical(small_spec(levels=2))
    with pytest.raises(ConfigError, match="no level 'botom' to train") as caught:
        prior.trained_levels = ("botom",)
    assert "bottom" in caught.value.hint
    with pytest.raises(ConfigError, match="list of levels to train is empty"):
        prior.trained_levels = ()
    assert prior.trained_levels == ("top", "bottom")


def test_settings_may_be_given_level_by_level() -> None:
    prior = hierarchical(small_spec(levels=2), channels=[16, 24], layers=[4, 2], attention=[1, 0], dropout=[0.1, 0])
    top, bottom = (network.options for network in prior.networks)
    assert (top.channels, top.layers, top.attention, top.dropout) == (16, 4, 1, 0.1)
    assert (bottom.channels, bottom.layers, bottom.attention, bottom.dropout) == (24, 2, 0, 0)
    again = PRIORS.build(NAME, prior.options.model_dump(mode="json"), prior.spec)
    again.load_state_dict(prior.state_dict())
    assert same_codes(again.eval().sample(2), prior.sample(2))


@pytest.mark.parametrize(
    ("levels", "values", "message"),
    [
        (2, [16, 16, 16], r"prior.channels lists 3 values; the tokenizer has 2 levels of codes \(top, bottom\)"),
        (1, [16, 16], r"prior.channels lists 2 values; the tokenizer has one level of codes \(codes\)"),
    ],
)
def test_as_many_values_as_levels(levels: int, values: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PRIORS.build(NAME, {**SMALL[NAME], "channels": values}, small_spec(levels=levels))


def test_each_level_has_its_temperature() -> None:
    prior = hierarchical(small_spec(levels=2))
    usual = prior.sample(8)
    assert same_codes(usual, prior.sample(8, sampling=Sampling(temperature=(1.0, 1.0))))
    top, bottom = prior.sample(8, sampling=Sampling(temperature=(1.0, 0.005)))
    assert torch.equal(top, usual[0])
    assert not torch.equal(bottom, usual[1])
    likely = prior.logits(1, (top, bottom), Conditioning.unconditional(8, prior.spec)).argmax(dim=1)
    assert float((likely == bottom).float().mean()) > 0.95
    with pytest.raises(ConfigError, match=r"3 temperatures were given for the levels of codes top, bottom\."):
        prior.sample(2, sampling=Sampling(temperature=(1.0, 1.0, 1.0)))


def test_sampling_by_the_names_of_other_implementations() -> None:
    prior = hierarchical(small_spec(levels=2))
    top, bottom = prior.sample(batch_size=4, top_shape=(3, 2), bottom_shape=(5, 3), device="cpu", temperature=0.8)
    assert same_codes((top, bottom), prior.sample(4, sampling=Sampling(temperature=0.8)))
    assert top.shape == (4, 3, 2)
    assert bottom.shape == (4, 5, 3)
    assert [level.device.type for level in prior.sample(4, device="meta")] == ["meta", "meta"]
    for wrong in ({"top_shape": (4, 4)}, {"bottom_shape": (3, 2)}):
        with pytest.raises(ConfigError, match=f"{next(iter(wrong))} is .*; the prior models a grid of"):
            prior.sample(4, **wrong)


def test_images_of_the_tokenizer() -> None:
    model, prior = two_levels()
    images = prior.sample_with_vqvae2(vqvae2_model=model, batch_size=3, device=torch.device("cpu"), temperature=(0.9, 1.0), seed=4)
    assert images.shape == (3, 2, 32, 16)
    assert not images.requires_grad
    codes = prior.sample(3, sampling=Sampling(temperature=(0.9, 1.0), seed=4))
    with torch.no_grad():
        assert torch.equal(images, model.decode(codes, model.spec.unknown_conditions(3)))
    other = hierarchical(small_spec(levels=2))
    with pytest.raises(ConfigError, match=r"models top 3 x 2 of 20 codes, .*tokenizer has top 4 x 2 of 20 codes, bottom 8 x 4"):
        other.sample_with_vqvae2(model, 3)


def test_codes_of_a_tokenizer_teach_the_prior_in_a_loop_of_ones_own() -> None:
    model, prior = two_levels()
    images = torch.rand(6, 2, 32, 16, generator=torch.Generator().manual_seed(0)).round()
    codes = model.get_code_indices(images)
    optimizer = torch.optim.Adam(prior.parameters(), 1e-2)
    history = []
    for _ in range(30):
        losses = prior.loss_function(codes["indices_top"], codes["indices_bottom"])
        optimizer.zero_grad()
        losses["total_loss"].backward()
        optimizer.step()
        history.append(float(losses["total_loss"].detach()))
    assert history[-1] < history[0] / 2
    assert LEVELS[NAME] == len(codes)
