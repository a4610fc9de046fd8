"""How probable pixels are: against sums over all values, and against formulas written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.interfaces import DataSpec
from vqkit.models import likelihoods

VALUES = torch.arange(256) / 255
PLACES = torch.tensor([-0.3, 0.0, 0.2, 0.5001, 0.97, 1.0, 1.4])


def every_value(width: float) -> Tensor:
    """Log probability of each value, float64 [places, 256]."""
    places = PLACES[:, None].expand(-1, 256).reshape(-1, 1, 1, 1)
    values = VALUES.repeat(len(PLACES)).view(-1, 1, 1, 1)
    return likelihoods.log_probability("logistic", places, values, torch.tensor([width])).view(len(PLACES), 256)


@pytest.mark.parametrize("width", [-7.0, -5.0, -2.0, 0.0])
def test_the_probabilities_of_256_values_sum_to_one(width: float) -> None:
    assert every_value(width).exp().sum(dim=1).tolist() == pytest.approx([1.0] * len(PLACES), abs=2e-4)


@pytest.mark.parametrize("value", [0, 1, 100, 254, 255])
def test_a_value_has_what_lies_between_its_edges(value: int) -> None:
    place, scale = 0.37, 0.2

    def below(edge: float) -> float:
        return 1 / (1 + math.exp(-(edge - place) / scale))

    upper = 1.0 if value == 255 else below((value + 0.5) / 255)
    lower = 0.0 if value == 0 else below((value - 0.5) / 255)
    pixel = torch.full((1, 1, 1, 1), value / 255)
    given = likelihoods.log_probability("logistic", torch.full_like(pixel, place), pixel, torch.tensor([scale]).log())
    assert float(given) == pytest.approx(math.log(upper - lower), abs=1e-4)


def test_far_away_values_keep_a_probability_and_a_gradient() -> None:
    places = torch.full((1, 1, 1, 1), 30.0, requires_grad=True)
    width = torch.tensor([-7.0], requires_grad=True)
    loss = likelihoods.distance("logistic", places, torch.full((1, 1, 1, 1), 0.5), width)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(29.5 / math.exp(-7), rel=1e-3)
    assert places.grad is not None and float(places.grad) == pytest.approx(math.exp(7), rel=1e-3)
    assert width.grad is not None and bool(width.grad.isfinite().all())


def test_gradients_are_those_of_finite_differences() -> None:
    places = torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    values = (torch.rand(2, 2, 3, 3, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    values[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    width = torch.tensor([-1.0, -2.5])

    def total(scale: float) -> float:
        return float(likelihoods.log_probability("logistic", places * scale, values, width).sum())

    scale = torch.ones((), requires_grad=True)
    likelihoods.log_probability("logistic", places.float() * scale, values, width).sum().backward()
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx((total(1.01) - total(0.99)) / 0.02, rel=1e-2)


@pytest.mark.parametrize(("width", "tolerance"), [(-7.0, 0.5 / 255), (-3.0, 1e-5), (-1.0, 1e-5)])
def test_the_expected_pixel_is_the_mean_over_its_values(width: float, tolerance: float) -> None:
    expected = (every_value(width).exp() * VALUES).sum(dim=1)
    given = likelihoods.mean("logistic", PLACES.view(-1, 1, 1, 1), torch.tensor([width])).flatten()
    assert given.tolist() == pytest.approx(expected.tolist(), abs=tolerance + 1e-4)


def test_each_channel_has_its_own_width() -> None:
    pixel = torch.full((1, 2, 1, 1), 0.5)
    both = likelihoods.log_probability("logistic", pixel, pixel, torch.tensor([-1.0, -3.0]))
    alone = [likelihoods.log_probability("logistic", pixel[:, :1], pixel[:, :1], torch.tensor([w])) for w in (-1.0, -3.0)]
    assert float(both) == pytest.approx(float(alone[0] + alone[1]))
    assert float(alone[1]) > float(alone[0]) + 1.5


def test_the_loss_is_the_log_probability_of_an_image_by_its_size() -> None:
    images = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(0)).round()
    logits = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(1))
    for kind, width in (("bernoulli", None), ("logistic", torch.tensor([-1.0, -2.0]))):
        nll = likelihoods.log_probability(kind, logits, images, width)  # type: ignore[arg-type]
        assert nll.shape == (3,) and nll.dtype == torch.float64
        distance = likelihoods.distance(kind, logits, images, width)  # type: ignore[arg-type]
        assert float(nll.mean() / -40) == pytest.approx(float(distance), rel=1e-5)


def test_a_set_pixel_under_bernoulli() -> None:
    pixel = torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)
    given = likelihoods.log_probability("bernoulli", torch.full_like(pixel, math.log(3)), pixel)
    assert given.exp().tolist() == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("kind", ["mse", "l1", "huber"])
def test_distances_are_no_probabilities(kind: likelihoods.Likelihood) -> None:
    with pytest.raises(ConfigError, match=f"no probability under the likelihood {kind}.* model.likelihood=logistic"):
        likelihoods.log_probability(kind, torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1))


def test_greys_have_no_probability_under_bernoulli() -> None:
    with pytest.raises(ConfigError, match=r"Pixels between 0 and 1 .* bernoulli.*Binarise"):
        likelihoods.log_probability("bernoulli", torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.5))


def test_what_is_chosen_by_the_kind_of_value() -> None:
    binary, grey = (DataSpec("toy", ("a",), 4, 4, kind) for kind in ("binary", "intensity"))  # type: ignore[arg-type]
    assert [likelihoods.choose("auto", spec) for spec in (binary, grey)] == ["bernoulli", "mse"]
    assert [likelihoods.choose("auto", spec, "logistic") for spec in (binary, grey)] == ["bernoulli", "logistic"]
    assert likelihoods.choose("l1", binary, "logistic") == "l1"
