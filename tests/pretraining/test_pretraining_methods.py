"""The objectives against their formulas, written out; and which networks they teach."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.config import Settings
from vqkit.interfaces import DataSpec, EncoderPart, fully_observed
from vqkit.interfaces.methods import PretrainingMethod, View
from vqkit.pretraining.barlow_twins import BarlowTwins, correlation_losses
from vqkit.pretraining.byol import BYOL, BYOLOptions, distances, momentum_at
from vqkit.pretraining.method import Projector
from vqkit.pretraining.simclr import SimCLR, similarities
from vqkit.registry import METHODS, MODELS

SPEC = DataSpec.uniform("toy", ("a", "b"), 8, 8, "intensity")
NETWORK = {"hidden": 8, "inner": 8, "attention": False}
HEADS = {"hidden": 12, "dim": 6}


def rows(count: int, size: int, seed: int) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def encoder() -> EncoderPart:
    torch.manual_seed(0)
    part: EncoderPart = MODELS.build("vqvae", {**NETWORK, "quantizer": {"dim": 4}}, SPEC).encoder_part
    return part


def views(count: int = 4) -> tuple[View, View]:
    images = torch.rand(2, count, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    return View(images[0], fully_observed(images[0])), View(images[1], images[1] > 0.3)


def built(name: str, part: EncoderPart, **settings: object) -> PretrainingMethod:
    torch.manual_seed(1)
    method: PretrainingMethod = METHODS.build(name, {**HEADS, **settings}, part)
    return method


def test_barlow_twins_is_the_correlation_matrix_of_the_paper() -> None:
    one, other = rows(7, 3, 0), rows(7, 3, 1)
    correlation = torch.corrcoef(torch.cat([one, other], dim=1).T)[:3, 3:]
    on = sum((1 - correlation[i, i]) ** 2 for i in range(3)) / 3
    off = sum(correlation[i, j] ** 2 for i in range(3) for j in range(3) if i != j) / 3
    invariance, redundancy = correlation_losses(one, other)
    assert float(invariance) == pytest.approx(float(on), rel=1e-6)
    assert float(redundancy) == pytest.approx(float(off), rel=1e-6)


def test_barlow_twins_has_nothing_to_say_of_equal_views_with_uncorrelated_dimensions() -> None:
    signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert [float(each) for each in correlation_losses(3 + 5 * signs, signs)] == pytest.approx([0, 0], abs=1e-12)
    # The same dimension twice: every view agrees, but one of two dimensions is redundant in both directions.
    assert [float(each) for each in correlation_losses(signs[:, [0, 0]], signs[:, [0, 0]])] == pytest.approx([0, 1], abs=1e-6)


def test_barlow_twins_survives_collapse() -> None:
    one = torch.ones(4, 3, requires_grad=True)
    invariance, redundancy = correlation_losses(one, torch.ones(4, 3))
    (invariance + redundancy).backward()
    assert invariance.item() == 1
    assert one.grad is not None
    assert one.grad.isfinite().all()


def by_hand(one: Tensor, other: Tensor, temperature: float) -> float:
    """NT-Xent as equation 1 of SimCLR has it, pair by pair."""
    every, count = torch.cat([one, other]).tolist(), len(one)

    def similarity(i: int, k: int) -> float:
        lengths = math.hypot(*every[i]) * math.hypot(*every[k])
        return math.exp(sum(a * b for a, b in zip(every[i], every[k], strict=True)) / lengths / temperature)

    def loss(i: int, j: int) -> float:
        return -math.log(similarity(i, j) / sum(similarity(i, k) for k in range(2 * count) if k != i))

    return sum(loss(k, k + count) + loss(k + count, k) for k in range(count)) / (2 * count)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_the_paper_s(temperature: float) -> None:
    one, other = rows(5, 3, 2), rows(5, 3, 3)
    assert float(F.cross_entropy(*similarities(one, other, temperature))) == pytest.approx(by_hand(one, other, temperature))


def test_the_gradient_of_nt_xent_is_its_slope() -> None:
    one, other = rows(3, 2, 4).requires_grad_(), rows(3, 2, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: F.cross_entropy(*similarities(a, b, 0.5)), (one, other))


def test_a_head_looks_at_what_differs_in_a_batch() -> None:
    torch.manual_seed(0)
    head, features = Projector(5, 16, 4), rows(12, 5, 6).float()
    # Features that are nearly the same for all images are told apart as well as others: this keeps BYOL from collapse.
    torch.testing.assert_close(head(100 + 0.1 * features), head(10 * features), atol=2e-2, rtol=0)
    assert not any("running" in name for name in head.state_dict())


def test_byol_measures_directions() -> None:
    predictions, targets = torch.tensor([[2.0, 0], [1, 1], [0, 3]]), torch.tensor([[5.0, 0], [1, 0], [0, -1]])
    assert distances(predictions, targets).tolist() == pytest.approx([0, 2 - math.sqrt(2), 4])


def test_byol_sums_both_directions_of_the_prediction() -> None:
    part, (first, second) = encoder(), views()
    method = built("byol", part)
    assert isinstance(method, BYOL)

    def mean(each: View) -> Tensor:
        return part(*each).mean(dim=(2, 3))

    expected = sum(
        distances(method.predictor(method.projector(mean(one))), method.projector(mean(other))).mean()
        for one, other in ((first, second), (second, first))
    )
    torch.testing.assert_close(method(part, first, second, 0.0).loss, expected)  # at first, the target is the network itself


def test_the_target_of_byol_follows_and_is_not_taught() -> None:
    part = encoder()
    method = built("byol", part, momentum=0.9)
    assert isinstance(method, BYOL)
    before = {name: value.clone() for name, value in method.target_encoder.named_parameters()}
    with torch.no_grad():
        for parameter in [*part.parameters(), *method.projector.parameters()]:
            parameter += 1
    output = method(part, *views(), progress=0.5)
    momentum = 1 - 0.1 * 0.5
    assert float(output.monitors["momentum"]) == pytest.approx(momentum)
    for name, value in method.target_encoder.named_parameters():
        torch.testing.assert_close(value, momentum * before[name] + (1 - momentum) * part.get_parameter(name))
    for name, value in method.target_projector.named_parameters():
        torch.testing.assert_close(value, method.projector.get_parameter(name) - momentum)
    output.loss.backward()
    targets = [*method.target_encoder.parameters(), *method.target_projector.parameters()]
    assert all(value.grad is None and not value.requires_grad for value in targets)
    taught = [*part.parameters(), *method.projector.parameters(), *method.predictor.parameters()]
    assert all(value.grad is not None for value in taught)


def test_the_momentum_of_byol_grows_to_one() -> None:
    assert [momentum_at(0.996, progress) for progress in (0, 0.5, 1)] == pytest.approx([0.996, 0.998, 1])
    assert BYOLOptions().momentum == 0.996


@pytest.mark.parametrize("name", ["barlow-twins", "simclr", "byol"])
def test_every_method_teaches_all_that_it_has(name: str) -> None:
    part = encoder()
    method = built(name, part)
    method(part, *views(), progress=0.0).loss.backward()
    for parameter in [*part.parameters(), *method.parameters()]:
        assert not parameter.requires_grad or parameter.grad is not None


@pytest.mark.parametrize("name", ["barlow-twins", "simclr", "byol"])
def test_losses_are_float32_whatever_the_networks_are(name: str) -> None:
    part = encoder()
    method = built(name, part)
    exact = method(part, *views(16), progress=1.0).loss.item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert part(*views()[0]).dtype == torch.bfloat16
        rounded = method(part, *views(16), progress=1.0).loss
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact, rel=0.05)


def test_comparisons_are_exact_under_autocast() -> None:
    one, other = rows(6, 4, 6).float(), rows(6, 4, 7).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = [*correlation_losses(one, other), *similarities(one, other, 0.5)]
    outside = [*correlation_losses(one, other), *similarities(one, other, 0.5)]
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


def test_found_is_the_share_of_pairs_that_are_nearest() -> None:
    part, (first, _) = encoder(), views()
    assert float(built("simclr", part)(part, first, first, 0.0).monitors["contrastive_accuracy"]) == 1
    assert isinstance(built("simclr", part), SimCLR)
    assert issubclass(BarlowTwins.Options, Settings)
