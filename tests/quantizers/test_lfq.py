from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.quantizers import bit_entropy
from vqkit.quantizers.bit_entropy import mean_code_entropy, mean_code_probabilities, negative_entropy
from vqkit.quantizers.lfq import LFQ, LFQOptions
from vqkit.registry import QUANTIZERS


def signs(dim: int) -> Tensor:
    """All codes, float64 [2^D, D], bit i of the number in channel i."""
    return torch.tensor([[2.0 * (code >> bit & 1) - 1 for bit in range(dim)] for code in range(2**dim)], dtype=torch.float64)


def softmax(features: Tensor, temperature: float) -> Tensor:
    """The probability of every code for every row of features [N, D], by brute force, float64 [N, 2^D]."""
    return (2 / temperature * features.double() @ signs(features.shape[1]).T).softmax(dim=1)


def entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(dim=-1)


def rows(count: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dim", [1, 2, 5, 8])
@pytest.mark.parametrize("chunk", [1, 2**6, 2**20])
def test_both_entropies_equal_brute_force(dim: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bit_entropy, "CHUNK_PROBABILITIES", chunk)
    features = rows(37, dim)
    logits = features * (4 / 0.7)
    probabilities = softmax(features, 0.7)
    torch.testing.assert_close(mean_code_entropy(logits).double(), entropy(probabilities).mean(), rtol=1e-5, atol=1e-6)
    mean = mean_code_probabilities(logits)
    torch.testing.assert_close(mean.double(), probabilities.mean(dim=0), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(-negative_entropy(mean).double(), entropy(probabilities.mean(dim=0)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 5])
def test_the_gradient_of_the_entropy_loss_equals_brute_force(dim: int) -> None:
    quantizer = LFQ(LFQOptions(num_codes=2**dim, temperature=0.5, diversity=0.7, entropy_weight=0.3))
    features = rows(24, dim).view(2, 3, 4, dim).permute(0, 3, 1, 2).requires_grad_()
    loss = quantizer(features).codebook_loss
    probabilities = softmax(features.movedim(1, -1).flatten(0, 2), 0.5)
    expected = 0.3 * (entropy(probabilities).mean() - 0.7 * entropy(probabilities.mean(dim=0)))
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-6)
    (ours,), (reference,) = (torch.autograd.grad(value, features) for value in (loss, expected))
    torch.testing.assert_close(ours, reference, rtol=1e-4, atol=1e-6)


def test_sure_choices_keep_loss_and_gradient_finite() -> None:
    features = (50 * rows(20, 16)).view(1, 4, 5, 16).permute(0, 3, 1, 2).requires_grad_()
    loss = LFQ(LFQOptions(num_codes=2**16))(features).codebook_loss
    (gradient,) = torch.autograd.grad(loss, features)
    assert float(loss.detach()) == pytest.approx(-0.1 * torch.tensor(20.0).log().item(), rel=1e-4), "20 codes, all alike and sure"
    assert bool(gradient.isfinite().all())


def test_the_entropy_of_a_nearly_sure_choice_is_not_lost_in_rounding() -> None:
    logits = torch.tensor([[30.0, -25.0]])
    expected = sum(entropy(torch.stack([odds.sigmoid(), (-odds).sigmoid()])) for odds in logits[0].double())
    assert float(mean_code_entropy(logits)) == pytest.approx(float(expected), rel=1e-4)


def test_values_are_signs_and_indices_their_bits() -> None:
    quantizer = LFQ(LFQOptions(num_codes=16))
    features = torch.tensor([0.3, -2.0, 0.0, 7.0]).view(1, 4, 1, 1)
    output = quantizer(features)
    assert output.features.flatten().tolist() == [1.0, -1.0, -1.0, 1.0]
    assert int(output.indices) == 1 + 8
    codes = quantizer.decode(torch.arange(16).view(1, 1, 16))[0, :, 0].T
    assert torch.equal(codes.double(), signs(4))


def test_the_losses_pull_as_they_say() -> None:
    quantizer = LFQ(LFQOptions(num_codes=4))
    features = torch.tensor([[0.5, 3.0], [-1.0, -0.5]]).view(1, 2, 1, 2).requires_grad_()
    output = quantizer(features)
    assert float(output.commitment_loss.detach()) == pytest.approx((0.25 + 4 + 0 + 0.25) / 4)
    probe = torch.randn(1, 2, 1, 2)
    (gradient,) = torch.autograd.grad(output.features, features, probe)
    assert torch.equal(gradient, probe)


def test_there_is_no_entropy_loss_outside_of_training() -> None:
    quantizer = LFQ(LFQOptions(num_codes=16))
    features = rows(8, 4).T.view(1, 4, 2, 4)
    assert float(quantizer(features).codebook_loss) != 0
    assert float(quantizer.eval()(features).codebook_loss) == 0


def test_descending_the_entropy_loss_uses_all_codes() -> None:
    quantizer = LFQ(LFQOptions(num_codes=16, temperature=1.0))
    features = (0.1 * rows(256, 4) + 0.3).T.reshape(1, 4, 16, 16).clone().requires_grad_()
    before = len(quantizer.encode(features).unique())
    optimizer = torch.optim.Adam([features], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        quantizer(features).codebook_loss.backward()
        optimizer.step()
    assert before <= 3
    assert len(quantizer.encode(features).unique()) == 16


@pytest.mark.parametrize("num_codes", [1000, 1, 2**21])
def test_the_number_of_codes_must_be_a_power_of_two_within_bounds(num_codes: int) -> None:
    with pytest.raises(ConfigError, match=r"1024, not 1000|greater than or equal to 2|less than or equal to 1048576"):
        QUANTIZERS.build("lfq", {"num_codes": num_codes})
