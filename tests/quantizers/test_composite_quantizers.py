"""Residual and grouped quantizers: how their parts make the whole."""

from __future__ import annotations

import copy
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import Quantizer, Tokenizer
from vqkit.quantizers.composite import CompositeQuantizer
from vqkit.registry import QUANTIZERS


def build(name: str, **settings: Any) -> CompositeQuantizer:
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(name, settings)
    assert isinstance(quantizer, CompositeQuantizer)
    return quantizer


def batch(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or (4, 4, 3, 5), generator=torch.Generator().manual_seed(seed))


def members(quantizer: CompositeQuantizer) -> list[Quantizer]:
    return [inner for inner in copy.deepcopy(quantizer).inner if isinstance(inner, Quantizer)]


INNER = {"num_codes": 16, "dim": 4, "kmeans_iterations": 2}


def test_each_depth_quantises_what_the_ones_before_left_over() -> None:
    quantizer = build("residual", num_quantizers=3, inner=INNER)
    quantizer(batch(0))
    features = batch(1)
    inner = members(quantizer)
    output = quantizer(features)
    residual, total, commitment = features, torch.zeros_like(features), torch.zeros(())
    for num_quantizers, each in enumerate(inner):
        indices = each.encode(residual)
        assert torch.equal(output.indices[:, num_quantizers], indices)
        chosen = each.decode(indices)
        commitment = commitment + (residual - chosen).square().mean()
        residual, total = residual - chosen, total + chosen
    assert torch.equal(output.features, total)
    torch.testing.assert_close(output.commitment_loss, commitment)


def test_every_depth_comes_closer() -> None:
    quantizer = build("residual", num_quantizers=4, inner=INNER)
    features = batch(0, 16, 4, 8, 8)
    indices = quantizer(features).indices
    for _ in range(3):
        indices = quantizer(features).indices
    quantizer.eval()
    indices = quantizer.encode(features)
    errors = []
    total = torch.zeros_like(features)
    for num_quantizers, inner in enumerate(members(quantizer)):
        total = total + inner.decode(indices[:, num_quantizers])
        errors.append(float((features - total).square().mean()))
    assert all(after < 0.7 * before for before, after in pairwise(errors))


@pytest.mark.parametrize("name", ["ema", "gradient"])
def test_the_gradients_of_a_residual_pass_once(name: str) -> None:
    quantizer = build("residual", num_quantizers=3, inner={"name": name, **INNER})
    quantizer(batch(0))
    quantizer.eval()
    features, probe = batch(1).requires_grad_(), batch(2)
    output = quantizer(features)
    (value,) = torch.autograd.grad(output.features, features, probe, retain_graph=True)
    assert torch.equal(value, probe)
    (commitment,) = torch.autograd.grad(output.commitment_loss, features)
    expected, residual = torch.zeros_like(features), features.detach()
    for num_quantizers, inner in enumerate(members(quantizer)):
        residual = residual - inner.decode(output.indices[:, num_quantizers])
        expected = expected + 2 / residual.numel() * residual
    torch.testing.assert_close(commitment, expected)


def test_a_residual_of_depth_one_is_its_codebook() -> None:
    quantizer = build("residual", num_quantizers=1, inner=INNER)
    inner = members(quantizer)[0]
    for step in range(3):
        whole, alone = quantizer(batch(step)), inner(batch(step))
        assert torch.equal(whole.indices, alone.indices)
        assert torch.equal(whole.features, alone.features)
        assert torch.equal(whole.commitment_loss, alone.commitment_loss)


def test_each_depth_has_its_own_codebook_and_seed() -> None:
    first, second = members(build("residual", num_quantizers=2, inner=INNER))
    assert int(first.seed) != int(second.seed)  # type: ignore[call-overload]
    assert not torch.equal(first.codes, second.codes)  # type: ignore[arg-type]


def test_each_group_of_channels_has_its_own_quantizer() -> None:
    quantizer = build("grouped", groups=2, inner={"num_codes": 8, "dim": 2, "kmeans_iterations": 2})
    quantizer(batch(0))
    features = batch(1)
    halves = features[:, :2], features[:, 2:]
    alone = [inner(half) for inner, half in zip(members(quantizer), halves, strict=True)]
    output = quantizer(features)
    for group, each in enumerate(alone):
        assert torch.equal(output.indices[:, group], each.indices)
        assert torch.equal(output.features[:, 2 * group : 2 * group + 2], each.features)
    expected = (features - output.features).square().mean()
    torch.testing.assert_close(output.commitment_loss, expected)


def test_indices_of_groups_of_residuals_are_ordered_by_group() -> None:
    quantizer = build("grouped", groups=2, inner={"name": "residual", "num_quantizers": 3, "inner": {"num_codes": 8, "dim": 2}})
    quantizer(batch(0))
    quantizer.eval()
    indices = quantizer.encode(batch(1))
    first, second = members(quantizer)
    assert torch.equal(indices[:, :3], first.encode(batch(1)[:, :2]))
    assert torch.equal(indices[:, 3:], second.encode(batch(1)[:, 2:]))


def test_counts_go_to_the_codebook_that_they_are_of() -> None:
    quantizer = build("residual", num_quantizers=2, inner=INNER)
    quantizer(batch(0))
    before = members(quantizer)
    counts = torch.ones(2, 16, dtype=torch.int64)
    counts[1, 7] = 0
    assert quantizer.reset_unused_codes(counts, torch.Generator().manual_seed(0)) == 1
    after = members(quantizer)
    assert torch.equal(before[0].codes, after[0].codes)  # type: ignore[arg-type]
    changed = (before[1].codes != after[1].codes).any(dim=1)  # type: ignore[operator, union-attr]
    assert changed.nonzero().flatten().tolist() == [7]


def test_a_tokenizer_gives_each_quantizer_the_counts_of_all_its_levels() -> None:
    single, several = QUANTIZERS.build("ema", INNER), build("residual", num_quantizers=2, inner=INNER)
    single(batch(0))
    several(batch(0))
    tokenizer = SimpleNamespace(quantizers=(single, several, several))
    counts = torch.ones(3, 16, dtype=torch.int64)
    counts[0, :3], counts[2, 7] = 0, 0
    before = members(several)
    moved = Tokenizer.reset_unused_codes(tokenizer, tuple(counts), torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert moved == 3 + 1
    same = [torch.equal(old.codes, new.codes) for old, new in zip(before, members(several), strict=True)]  # type: ignore[arg-type]
    assert same == [True, False]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inner": "fsq"}, "needs a codebook, .* not fsq"),
        ({"inner": "residual"}, "needs a codebook, .* not residual"),
        ({"inner": {"distance": "cosine"}}, "use distance: euclidean"),
        ({"inner": {"gradient_estimator": "rotation"}}, "set gradient_estimator of the residual quantizer itself"),
        ({"inner": {"num_codes": 1}}, "quantizer 'ema', num_codes"),
        ({"num_quantizers": 0}, "num_quantizers"),
        ({"num_codes": 512}, "no setting 'num_codes'"),
    ],
)
def test_parts_that_cannot_make_a_residual_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QUANTIZERS.build("residual", settings)


def test_settings_of_the_parts_are_filled_in_and_written_out() -> None:
    options = QUANTIZERS.options("residual", {"inner": "gradient"}).model_dump()
    assert options["inner"]["name"] == "gradient"
    assert options["inner"]["num_codes"] == 512
    assert QUANTIZERS.options("residual", options).model_dump() == options
    unnamed = QUANTIZERS.options("grouped", {"inner": {"num_codes": 32}}).model_dump()
    assert (unnamed["inner"]["name"], unnamed["inner"]["num_codes"]) == ("ema", 32)
