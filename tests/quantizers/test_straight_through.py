from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.quantizers.straight_through import count_by_code, straight_through, sum_by_code, to_grid, to_rows


@pytest.fixture(params=[torch.contiguous_format, torch.channels_last], ids=["channels-first", "channels-last"])
def features(request: pytest.FixtureRequest) -> Tensor:
    drawn = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    return drawn.contiguous(memory_format=request.param).requires_grad_()


@pytest.fixture
def codes() -> Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(1)).requires_grad_()


def indices() -> Tensor:
    return torch.randint(7, (24,), generator=torch.Generator().manual_seed(2))


def plain(features: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same three results computed by autograd."""
    chosen = codes[indices()].view(2, 3, 4, 5).permute(0, 3, 1, 2)
    codebook_loss = (chosen - features.detach()).square().mean()
    commitment_loss = (chosen.detach() - features).square().mean()
    return features + (chosen - features).detach(), codebook_loss, commitment_loss


@pytest.mark.parametrize("weights", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.7, 1.0, 0.25)])
def test_values_and_gradients_equal_those_of_autograd(features: Tensor, codes: Tensor, weights: tuple[float, float, float]) -> None:
    probe = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(3))
    results = []
    for function in (lambda z, e: straight_through(z, e, to_rows(z), indices()), plain):
        quantized, codebook_loss, commitment_loss = function(features, codes)
        total = weights[0] * (quantized * probe).sum() + weights[1] * codebook_loss + weights[2] * commitment_loss
        gradients = torch.autograd.grad(total, [features, codes], allow_unused=True, materialize_grads=True)
        results.append((quantized, codebook_loss, commitment_loss, *gradients))
    for ours, reference in zip(*results, strict=True):
        torch.testing.assert_close(ours, reference)


def test_each_term_reaches_only_what_it_should(features: Tensor, codes: Tensor) -> None:
    quantized, codebook_loss, commitment_loss = straight_through(features, codes, to_rows(features), indices())

    def reached(term: Tensor) -> list[bool]:
        gradients = torch.autograd.grad(term, [features, codes], retain_graph=True, allow_unused=True)
        return [gradient is not None and bool(gradient.abs().sum() > 0) for gradient in gradients]

    assert reached(quantized.sum()) == [True, False]
    assert reached(codebook_loss) == [False, True]
    assert reached(commitment_loss) == [True, False]


def test_the_gradient_of_the_codes_reaches_the_features_unchanged(features: Tensor, codes: Tensor) -> None:
    probe = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(3))
    quantized, _, _ = straight_through(features, codes, to_rows(features), indices())
    (gradient,) = torch.autograd.grad(quantized, features, probe)
    assert torch.equal(gradient, probe)


def test_the_values_are_the_codes_bit_for_bit(features: Tensor, codes: Tensor) -> None:
    quantized, _, _ = straight_through(features * 1000, codes, to_rows(features * 1000), indices())
    assert torch.equal(to_rows(quantized), codes[indices()])


def test_bfloat16_features_get_a_bfloat16_gradient(codes: Tensor) -> None:
    features = torch.randn(2, 5, 3, 4).bfloat16().requires_grad_()
    quantized, _, commitment_loss = straight_through(features, codes, to_rows(features), indices())
    (quantized.sum() + commitment_loss).backward()
    assert quantized.dtype == commitment_loss.dtype == torch.float32
    assert features.grad is not None
    assert features.grad.dtype == torch.bfloat16


def test_rows_and_grid_are_inverse_on_a_grid_that_is_not_square() -> None:
    features = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).view(2, 3, 4, 5)
    rows = to_rows(features)
    assert torch.equal(rows[4 * 5 + 2 * 5 + 1], features[1, :, 2, 1])
    assert torch.equal(to_grid(rows, features.shape), features)


def test_sums_and_counts_by_code() -> None:
    rows = torch.arange(12, dtype=torch.float32).view(6, 2)
    chosen = torch.tensor([3, 0, 3, 3, 1, 0])
    expected = torch.zeros(5, 2).index_add_(0, chosen, rows)
    assert torch.equal(sum_by_code(rows, chosen, 5), expected)
    assert count_by_code(chosen, 5).tolist() == [2, 1, 0, 3, 0]
