"""How probable pixels are: against sums over all values, and against formulas written out by hand."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import ComponentSpec, DataSpec
from vqkit.models import likelihoods
from vqkit.models.distances import AbsoluteError, HuberError, LogSquaredError, PixelDistance, SquaredError
from vqkit.models.likelihoods import (
    LIKELIHOODS,
    Bernoulli,
    DiscretizedLogistic,
    DistanceChoice,
    Gaussian,
    LikelihoodChoice,
    LikelihoodName,
    Mixed,
    build_likelihood,
    logistic_mean,
)
from vqkit.models.pixel_likelihood import PixelLikelihood

VALUES = torch.arange(256) / 255
HALF_STEP, FIRST, LAST = 0.5 / 255, 0.0, 1.0


def components(count: int) -> list[ComponentSpec]:
    return [ComponentSpec(f"c{number}") for number in range(count)]


def logistic_log_prob(loc: Tensor, log_scale: Tensor, pixels: Tensor) -> Tensor:
    return likelihoods.logistic_log_prob(loc, log_scale, pixels, HALF_STEP, FIRST, LAST)


LOCATIONS = torch.tensor([-0.3, 0.0, 0.2, 0.5001, 0.97, 1.0, 1.4])


def every_value(log_scale: float) -> Tensor:
    """Log probability of each value, float32 [locations, 256]."""
    loc = LOCATIONS[:, None].expand(-1, 256).reshape(-1, 1, 1, 1)
    values = VALUES.repeat(len(LOCATIONS)).view(-1, 1, 1, 1)
    return logistic_log_prob(loc, torch.tensor([log_scale]), values).view(len(LOCATIONS), 256)


@pytest.mark.parametrize("log_scale", [-7.0, -5.0, -2.0, 0.0])
def test_the_probabilities_of_256_values_sum_to_one(log_scale: float) -> None:
    assert every_value(log_scale).exp().sum(dim=1).tolist() == pytest.approx([1.0] * len(LOCATIONS), abs=2e-4)


@pytest.mark.parametrize("value", [0, 1, 100, 254, 255])
def test_a_value_has_what_lies_between_its_edges(value: int) -> None:
    loc, scale = 0.37, 0.2

    def below(edge: float) -> float:
        return 1 / (1 + math.exp(-(edge - loc) / scale))

    upper = 1.0 if value == 255 else below((value + 0.5) / 255)
    lower = 0.0 if value == 0 else below((value - 0.5) / 255)
    pixel = torch.full((1, 1, 1, 1), value / 255)
    given = logistic_log_prob(torch.full_like(pixel, loc), torch.tensor([scale]).log(), pixel)
    assert float(given) == pytest.approx(math.log(upper - lower), abs=1e-4)


def test_far_away_values_keep_a_probability_and_a_gradient() -> None:
    loc = torch.full((1, 1, 1, 1), 30.0, requires_grad=True)
    log_scale = torch.tensor([-7.0], requires_grad=True)
    loss = -logistic_log_prob(loc, log_scale, torch.full((1, 1, 1, 1), 0.5)).mean()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(29.5 / math.exp(-7), rel=1e-3)
    assert loc.grad is not None and float(loc.grad) == pytest.approx(math.exp(7), rel=1e-3)
    assert log_scale.grad is not None and bool(log_scale.grad.isfinite().all())


def test_gradients_are_those_of_finite_differences() -> None:
    loc = torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    values = (torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    values[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    log_scale = torch.tensor([-1.0, -2.5])

    def total(scale: float) -> float:
        return float(logistic_log_prob(loc * scale, log_scale, values).double().sum())

    scale = torch.ones((), requires_grad=True)
    logistic_log_prob(loc.float() * scale, log_scale, values).sum().backward()
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx((total(1.01) - total(0.99)) / 0.02, rel=1e-2)


@pytest.mark.parametrize(("log_scale", "tolerance"), [(-7.0, 0.5 / 255), (-3.0, 1e-5), (-1.0, 1e-5)])
def test_the_expected_pixel_is_the_mean_over_its_values(log_scale: float, tolerance: float) -> None:
    expected = (every_value(log_scale).exp() * VALUES).sum(dim=1)
    given = logistic_mean(LOCATIONS.view(-1, 1, 1, 1), torch.tensor([log_scale]), torch.tensor(FIRST), torch.tensor(LAST)).flatten()
    assert given.tolist() == pytest.approx(expected.tolist(), abs=tolerance + 1e-4)


def test_each_channel_has_its_own_scale() -> None:
    pixel = torch.full((1, 2, 1, 1), 0.5)
    both = logistic_log_prob(pixel, torch.tensor([-1.0, -3.0]), pixel).flatten()
    alone = [float(logistic_log_prob(pixel[:, :1], torch.tensor([each]), pixel[:, :1])) for each in (-1.0, -3.0)]
    assert both.tolist() == pytest.approx(alone)
    assert alone[1] > alone[0] + 1.5


def test_the_loss_is_the_log_probability_of_an_image_by_its_size() -> None:
    images = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)).round()
    logits = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(1))
    logistic = DiscretizedLogistic(components(2))
    logistic.raw_log_scale.data += torch.tensor([0.1, 0.0])
    assert logistic.log_scale.tolist() == pytest.approx([-1.0, -2.0])
    for likelihood in (Bernoulli(components(2)), logistic):
        log_prob = likelihood.log_prob(logits, images)
        assert log_prob.shape == (3,) and log_prob.dtype == torch.float64
        assert float(log_prob.mean().detach() / -40) == pytest.approx(float(likelihood.loss(logits, images).detach()), rel=1e-5)


def test_the_learned_scale_has_a_lower_bound() -> None:
    likelihood = DiscretizedLogistic(components(1))
    likelihood.raw_log_scale.data.fill_(-3.0)
    assert likelihood.log_scale.tolist() == [-7.0]


@pytest.mark.parametrize("kind", [Bernoulli, DiscretizedLogistic, Gaussian, SquaredError, AbsoluteError, HuberError])
def test_the_expected_pixel_of_the_middle_logit_is_one_half(kind: type[PixelLikelihood]) -> None:
    likelihood = kind(components(1))
    logits = torch.full((1, 1, 1, 1), likelihood.mid_logit)
    assert float(likelihood.mean(logits).detach()) == pytest.approx(0.5)
    assert torch.equal(likelihood(logits), likelihood.mean(logits))


def test_a_set_pixel_under_bernoulli() -> None:
    pixel = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    given = Bernoulli(components(1)).log_prob(torch.full_like(pixel, math.log(3)), pixel)
    assert given.exp().tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("kind", [SquaredError, AbsoluteError, HuberError])
def test_distances_are_no_probabilities(kind: type[PixelLikelihood]) -> None:
    with pytest.raises(ConfigError, match=f"no probability under the likelihood {kind.name}.* model.likelihood=logistic"):
        kind(components(1)).log_prob(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))


def test_greys_have_no_probability_under_bernoulli() -> None:
    with pytest.raises(ConfigError, match=r"Pixels between 0 and 1 .* bernoulli.*Binarise"):
        Bernoulli(components(1)).log_prob(torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.5))


def test_a_gaussian_is_the_normal_density_whose_best_scale_is_the_deviation() -> None:
    likelihood = Gaussian(components(2))
    likelihood.raw_log_scale.data = torch.tensor([0.05, -0.1])
    logits, pixels = torch.rand(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([-1.5, -3.0]).exp()[:, None, None]
    expected = torch.distributions.Normal(logits, scale).log_prob(pixels).double().sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(logits, pixels).detach(), expected, rtol=1e-5, atol=0)
    errors = (pixels - logits).square().mean((0, 2, 3))
    likelihood.raw_log_scale.data = (errors.log() / 2 + 2) / 10
    gradient = torch.autograd.grad(likelihood.loss(logits, pixels), likelihood.raw_log_scale)[0]
    torch.testing.assert_close(gradient, torch.zeros(2), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "tolerance"), [(SquaredError, 0.02), (AbsoluteError, 0.02), (HuberError, 0.3)])
def test_dark_components_count_as_much_as_bright_ones(kind: type[PixelDistance], tolerance: float) -> None:
    deviations = torch.tensor([0.3, 0.04])
    pixels = deviations[:, None, None] * torch.randn(4000, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    likelihood = kind(components(2))
    likelihood.set_variances(deviations.square())
    bright, dark = likelihood.weighted_loss(torch.zeros_like(pixels), pixels).mean((0, 2, 3)).tolist()
    assert dark == pytest.approx(bright, rel=tolerance)


def test_what_is_chosen_by_the_kind_of_value() -> None:
    binary, grey = (DataSpec.uniform("toy", ("a",), 4, 4, kind) for kind in ("binary", "intensity"))  # type: ignore[arg-type]
    assert [build_likelihood("auto", spec).name for spec in (binary, grey)] == ["bernoulli", "mse"]
    assert [build_likelihood("auto", spec, "logistic").name for spec in (binary, grey)] == ["bernoulli", "logistic"]
    assert build_likelihood("l1", binary, "logistic").name == "l1"
    floats = ComponentSpec("a", "intensity", "float32", 0.0, 1.0)
    spec = DataSpec("toy", (floats,), 4, 4)
    assert [build_likelihood("auto", spec, kind).name for kind in ("mse", "logistic")] == ["mse", "gaussian"]


def test_the_options_name_every_likelihood() -> None:
    assert set(get_args(LikelihoodName)) == set(LIKELIHOODS)
    assert set(get_args(LikelihoodChoice)) == {"auto", *LIKELIHOODS}
    assert set(get_args(DistanceChoice)) <= {"auto", *LIKELIHOODS}


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_only_what_is_present_counts(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 2, 4, 5, generator=generator).round()
    logits = torch.randn(3, 2, 4, 5, generator=generator)
    present = torch.rand(3, 2, 4, 5, generator=generator) > 0.4
    likelihood = LIKELIHOODS[name](components(2))
    each = likelihood.pixel_loss(logits, images)
    wanted = each[present].mean()
    if name == "log-mse":
        wanted = sum(0.02 * (1 + each[n][present[n]].mean() / 0.02).log() for n in range(3)) / 3
    assert float(likelihood.loss(logits, images, present).detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    whole = likelihood.loss(logits, images, torch.ones(1, 1, 1, 1, dtype=torch.bool))
    assert float(whole.detach()) == pytest.approx(float(likelihood.loss(logits, images).detach()), rel=1e-6)
    if name in ("bernoulli", "logistic"):
        expected = torch.stack([-each[number][present[number]].sum() for number in range(3)]).tolist()
        assert likelihood.log_prob(logits, images, present).tolist() == pytest.approx(expected, rel=1e-5)


def test_the_logarithm_weighs_images_by_their_errors() -> None:
    target = torch.zeros(3, 1, 4, 4)
    logits = torch.stack([torch.full((1, 4, 4), error) for error in (0.01, 0.1, 0.5)]).requires_grad_()
    likelihood = LogSquaredError(components(1))
    (gradient,) = torch.autograd.grad(likelihood.loss(logits, target), logits)
    (plain,) = torch.autograd.grad(SquaredError(components(1)).loss(logits, target), logits)
    ratio = (gradient / plain).flatten(1)[:, 0].tolist()
    assert ratio == pytest.approx([1 / (1 + error**2 / 0.02) for error in (0.01, 0.1, 0.5)], rel=1e-4)
    # An image of which nothing is present counts for nothing.
    present = torch.tensor([True, False, True])[:, None, None, None]
    both = likelihood.loss(logits, target, present)
    assert float(both.detach()) == pytest.approx(float(likelihood.loss(logits[[0, 2]], target[[0, 2]]).detach()))


def test_the_logarithm_is_not_for_mixed_components() -> None:
    spec = DataSpec("toy", (ComponentSpec("a"), ComponentSpec("b", "binary")), 4, 5)
    with pytest.raises(ConfigError, match=r"log-mse compares whole images.*model.likelihood=mse"):
        build_likelihood("log-mse", spec)


def test_mixed_components_are_scored_each_by_its_kind() -> None:
    specs = (ComponentSpec("a"), ComponentSpec("b", "binary"), ComponentSpec("c"))
    spec = DataSpec("toy", specs, 4, 5)
    likelihood = build_likelihood("auto", spec)
    assert isinstance(likelihood, Mixed)
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1))
    images[:, 1].round_()
    expected = (logits - images).square()
    expected[:, 1] = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 1], images[:, 1], reduction="none")
    torch.testing.assert_close(likelihood.pixel_loss(logits, images), expected)
    torch.testing.assert_close(likelihood.mean(logits)[:, 1], logits[:, 1].sigmoid())
    assert torch.equal(likelihood.mean(logits)[:, [0, 2]], logits[:, [0, 2]].clamp(0, 1))
    assert likelihood.mid_logits.tolist() == [0.5, 0.0, 0.5]


def test_a_logistic_of_sixteen_bits_sums_to_one_over_its_values() -> None:
    spec = ComponentSpec("dna", dtype="uint8", low=20, high=60)  # a range within the type's
    likelihood = DiscretizedLogistic([spec])
    values = ((torch.arange(256) - 20) / 40).view(256, 1, 1, 1)
    for loc in (-0.4, 0.5, 5.0):
        each = likelihood.pixel_loss(torch.full((256, 1, 1, 1), loc), values)
        assert float((-each).exp().sum().detach()) == pytest.approx(1.0, abs=1e-3)
        mean = float(((-each).exp() * values).sum().detach())
        assert float(likelihood.mean(torch.full((1, 1, 1, 1), loc)).detach()) == pytest.approx(mean, abs=0.02)
    with pytest.raises(ConfigError, match=r"whole numbers on a linear scale; the component ph is float32, linear"):
        DiscretizedLogistic([ComponentSpec("ph", dtype="float32")])
