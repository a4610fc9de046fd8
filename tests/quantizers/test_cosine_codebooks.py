"""Codebooks with the cosine distance, whose features and codes are l2-normalised."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.quantizers.codebook import LearnedCodebook
from vqkit.quantizers.ema import EMACodebook
from vqkit.quantizers.kmeans import kmeans
from vqkit.registry import QUANTIZERS

LEARNED = pytest.mark.parametrize("name", ["ema", "gradient"])


def build(name: str, **settings: Any) -> LearnedCodebook:
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(name, {"num_codes": 12, "dim": 4, "distance": "cosine", **settings})
    assert isinstance(quantizer, LearnedCodebook)
    return quantizer


def batch(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape or (4, 4, 3, 5), generator=torch.Generator().manual_seed(seed))


def lengths(quantizer: LearnedCodebook) -> Tensor:
    return quantizer.codebook().detach().norm(dim=1)


@LEARNED
def test_codes_have_length_one_from_the_start_and_whatever_happens(name: str) -> None:
    quantizer = build(name, reset_every=2, reset_threshold=1.0)
    torch.testing.assert_close(lengths(quantizer), torch.ones(12))
    for step in range(5):
        output = quantizer(5 * batch(step))
        torch.testing.assert_close(lengths(quantizer), torch.ones(12))
        torch.testing.assert_close(output.features.norm(dim=1), torch.ones(4, 3, 5))
    seen = torch.zeros(12, dtype=torch.int64)
    seen[3] = 1
    quantizer.reset_unused_codes(seen, torch.Generator().manual_seed(0))
    torch.testing.assert_close(lengths(quantizer), torch.ones(12))
    torch.testing.assert_close(quantizer.decode(torch.arange(12).view(1, 3, 4)).norm(dim=1), torch.ones(1, 3, 4))


@LEARNED
def test_the_code_at_the_smallest_angle_is_chosen_and_lengths_do_not_matter(name: str) -> None:
    quantizer = build(name)
    quantizer(batch(0))
    quantizer.eval()
    features = batch(1)
    cosines = F.cosine_similarity(features.movedim(1, -1)[..., None, :], quantizer.codebook().detach(), dim=-1)
    assert torch.equal(quantizer.encode(features), cosines.argmax(dim=-1))
    scaled = features * torch.rand(4, 1, 3, 5, generator=torch.Generator().manual_seed(2)).add(0.1).mul(30)
    assert torch.equal(quantizer.encode(scaled), quantizer.encode(features))


@LEARNED
def test_losses_and_gradients_equal_those_of_autograd(name: str) -> None:
    quantizer = build(name)
    quantizer(batch(0))
    quantizer.eval()
    features, probe = batch(1).requires_grad_(), batch(2)
    output = quantizer(features)
    total = (output.features * probe).sum() + output.codebook_loss + 0.25 * output.commitment_loss
    sources = [features, *quantizer.parameters()]
    gradients = torch.autograd.grad(total, sources)

    placed = features / features.norm(dim=1, keepdim=True)
    codes = quantizer.codes / quantizer.codes.norm(dim=1, keepdim=True)
    chosen = codes[output.indices].movedim(-1, 1)
    codebook_loss = (chosen - placed.detach()).square().mean() if name == "gradient" else torch.zeros(())
    commitment_loss = (chosen.detach() - placed).square().mean()
    value = placed + (chosen - placed).detach()
    expected = torch.autograd.grad((value * probe).sum() + codebook_loss + 0.25 * commitment_loss, sources)
    torch.testing.assert_close(output.commitment_loss, commitment_loss)
    torch.testing.assert_close(output.codebook_loss, codebook_loss)
    for ours, reference in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, reference)


def test_ema_of_l2_normalized_features_by_hand() -> None:
    quantizer = build("ema", num_codes=2, dim=2, decay=0.9, reset_every=0)
    assert isinstance(quantizer, EMACodebook)
    codes = torch.eye(2)
    state = {"codes": codes, "sums": codes, "counts": torch.ones(2), "initialised": torch.tensor(True)}
    quantizer.load_state_dict({**quantizer.state_dict(), **state})
    quantizer(torch.tensor([[3.0, 4.0], [0.0, 9.0], [8.0, 6.0]]).T.view(1, 2, 1, 3))
    # L2-normalised, (.6, .8) and (0, 1) are nearest to the second code, (.8, .6) to the first.
    sums = torch.tensor([[0.9 + 0.08, 0.06], [0.06, 0.9 + 0.18]])
    torch.testing.assert_close(quantizer.sums, sums)
    torch.testing.assert_close(quantizer.counts, torch.tensor([1.0, 1.1]))
    torch.testing.assert_close(quantizer.codes, sums / sums.norm(dim=1, keepdim=True))


def test_a_code_that_is_not_chosen_keeps_its_direction_when_its_sum_underflows() -> None:
    quantizer = build("ema", num_codes=2, dim=2, decay=0.01, reset_every=0)
    codes = torch.eye(2)
    state = {"codes": codes, "sums": codes, "counts": torch.ones(2), "initialised": torch.tensor(True)}
    quantizer.load_state_dict({**quantizer.state_dict(), **state})
    for _ in range(30):
        quantizer(torch.tensor([1.0, 0.1]).view(1, 2, 1, 1))
    torch.testing.assert_close(quantizer.codes[1], codes[1])


@LEARNED
def test_a_codebook_starts_at_the_directions_of_clusters(name: str) -> None:
    centres = torch.eye(4)[:3]
    rows = centres.repeat(40, 1) + 0.01 * batch(0, 120, 4)
    rows = rows * torch.rand(120, 1, generator=torch.Generator().manual_seed(1)).add(0.1).mul(20)
    quantizer = build(name, reset_every=0)
    quantizer(rows.view(2, 6, 10, 4).permute(0, 3, 1, 2))
    assert torch.cdist(quantizer.codebook().detach(), centres).amin(dim=1).max() < 0.1


def test_spherical_k_means_has_l2_normalized_centres() -> None:
    rows = batch(0, 60, 4)
    rows = rows / rows.norm(dim=1, keepdim=True)
    centres, sizes = kmeans(rows, 5, 4, torch.Generator().manual_seed(0), l2_normalized=True)
    torch.testing.assert_close(centres.norm(dim=1), torch.ones(5))
    plain, _ = kmeans(rows, 5, 4, torch.Generator().manual_seed(0))
    assert bool((plain.norm(dim=1) < 0.95).all()), "means of directions are shorter"
    assert int(sizes.sum()) == 60


def test_a_reset_between_forward_and_backward_does_not_change_the_gradient() -> None:
    features = batch(1)
    gradients = []
    for reset_every in (0, 1):
        quantizer = build("gradient", reset_every=reset_every, reset_threshold=1.0, kmeans_iterations=0)
        before = quantizer.state_dict()["codes"].clone()
        (gradient,) = torch.autograd.grad(quantizer(features).codebook_loss, list(quantizer.parameters()))
        gradients.append(gradient)
        assert not torch.equal(quantizer.codes.detach(), before)
    torch.testing.assert_close(gradients[0], gradients[1])
