"""Candidate covariances against conditional expectations and densities by brute force."""

from __future__ import annotations

import math

import pytest
import torch
from tests.layers.test_spatial_covariance import field, known_covariance
from torch import Tensor

import vqkit.layers.candidate_covariances as module
from vqkit.layers.candidate_covariances import CandidateCovariances
from vqkit.layers.kriging import fill_by_kriging
from vqkit.layers.spatial_covariance import SCALES, SpatialCovariance

HALF = torch.full((2,), 0.5, dtype=torch.float64)
ALL = torch.ones(1, 2, dtype=torch.bool)


def kernel(candidate: int, offset: Tensor, shares: Tensor) -> Tensor:
    """The correlation of a candidate at offsets [..., 2] (rows, columns), written out."""
    smooth, shape = divmod(candidate, 1 + module._DIRECTIONS)
    stretch = 1.0 if shape == 0 else 2.0
    angle = 0.0 if shape == 0 else math.pi * (shape - 1) / module._DIRECTIONS
    rotation = torch.tensor([[math.sin(angle), math.cos(angle)], [math.cos(angle), -math.sin(angle)]], dtype=torch.float64)
    turned = offset.double() @ rotation.T / torch.tensor([stretch**0.5, stretch**-0.5], dtype=torch.float64)
    total = shares[-1] + module.SHARED
    for scale, share in zip(SCALES, shares[1:-1], strict=True):
        distance = turned.norm(dim=-1) / scale
        scaled = math.sqrt(3) * distance / module._SMOOTHER
        total = total + share * ((1 + scaled) * (-scaled).exp() if smooth else (-distance).exp())
    return total


def test_answers_are_the_average_of_conditional_expectations() -> None:
    covariance = SpatialCovariance(known_covariance().amplitudes[:1] * torch.tensor([[1.0], [3.0]]))
    covariance.amplitudes[1, 2] += 0.001
    covariance.amplitudes[:, 0] += 0.0005
    image = field(covariance, 1, 9, 9, seed=2)[0].double()
    hole = torch.zeros(9, 9, dtype=torch.bool)
    hole[3:6, 4:7] = True
    around, inside = (~hole).nonzero(), hole.nonzero()
    candidates = CandidateCovariances(covariance)
    assert candidates.groups == [[0, 1]]
    shares = (covariance.amplitudes / covariance.variance[:, None]).mean(dim=0)
    values = (image[:, ~hole] - 0.5) / covariance.variance.sqrt()[:, None]
    count, predictions, scores = len(around), [], []
    near = (-torch.cdist(inside.double(), around.double()) / 2).softmax(dim=1)
    for candidate in range(2 * (1 + module._DIRECTIONS)):
        among = kernel(candidate, around[:, None] - around, shares) + (shares[0] + 1e-4) * torch.eye(count)
        toward = kernel(candidate, inside[:, None] - around, shares)
        predictions.append(values @ torch.linalg.solve(among, toward.T))
        whole, single = 0.0, torch.zeros(count, dtype=torch.float64)
        for row in values:
            amplitude = row @ torch.linalg.solve(among, row) / count + 1e-6
            whole -= float(torch.logdet(amplitude * among) + row @ torch.linalg.solve(amplitude * among, row)) / 2 / len(values)
            for each in range(count):
                others = torch.arange(count) != each
                weights = torch.linalg.solve(among[others][:, others], among[others, each])
                spread = amplitude * (among[each, each] - weights @ among[others, each])
                single[each] -= (spread.log() + (row[each] - weights @ row[others]).square() / spread) / 2 / len(values)
        prior = 1.0 if candidate % (1 + module._DIRECTIONS) == 0 else 1 / module._DIRECTIONS
        scores.append(math.log(prior) + 0.3 * whole + 0.18 * count * (near @ single))
    weights = torch.stack(scores).softmax(dim=0)
    expected = (torch.stack(predictions) * weights[:, None]).sum(dim=0) * covariance.variance.sqrt()[:, None]
    answers = candidates.expected([0, 1], image[:, ~hole] - 0.5, around, inside)
    assert torch.allclose(answers, expected, atol=1e-8)


def stripes(angle: float, size: int = 32) -> Tensor:
    """One image of soft stripes along a direction, [1, 2, size, size]."""
    steps = torch.arange(size).float()
    across = steps[:, None] * math.cos(angle) - steps * math.sin(angle)
    return (0.5 + 0.4 * (across / 2.5).sin()).expand(1, 2, size, size).clone()


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.2, 2.4])
def test_stripes_are_continued_through_holes(angle: float) -> None:
    images = stripes(angle)
    known = torch.ones_like(images, dtype=torch.bool)
    known[..., 12:18, 13:20] = False
    covariance = known_covariance()
    plain, _ = fill_by_kriging(images, known, ALL, covariance, HALF)
    weighed, _ = fill_by_kriging(images, known, ALL, covariance, HALF, CandidateCovariances(covariance))
    errors = [float((each - images)[~known].square().mean()) for each in (plain, weighed)]
    assert errors[1] < 0.4 * errors[0]


def test_fields_with_the_covariance_of_the_model_are_filled_in_nearly_as_well() -> None:
    covariance = known_covariance()
    images = field(covariance, 60, 20, 20, seed=7)
    known = torch.ones_like(images, dtype=torch.bool)
    known[..., 6:13, 5:12] = False
    every = ALL.expand(60, 2)
    plain, _ = fill_by_kriging(images, known, every, covariance, HALF)
    weighed, done = fill_by_kriging(images, known, every, covariance, HALF, CandidateCovariances(covariance))
    assert bool(done.all())
    errors = [float((each - images)[~known].square().mean()) for each in (plain, weighed)]
    assert errors[1] < 1.05 * errors[0]


def test_hidden_values_other_images_and_scale_do_not_matter() -> None:
    covariance = known_covariance()
    candidates = CandidateCovariances(covariance)
    images = torch.cat([stripes(0.6, 24), field(covariance, 2, 24, 24)])
    known = torch.ones_like(images, dtype=torch.bool)
    known[:2, :, 8:14, 9:13] = False
    known[2, 0, 3:9, 3:9] = False
    chosen = torch.tensor([[True, True], [True, True], [True, False]])
    filled, done = fill_by_kriging(images, known, chosen, covariance, HALF, candidates)
    assert torch.equal(done, chosen)
    assert torch.equal(filled[known], images[known])
    spoiled, _ = fill_by_kriging(torch.where(known, images, torch.nan), known, chosen, covariance, HALF, candidates)
    assert torch.equal(filled, spoiled)
    alone, _ = fill_by_kriging(images[1:2], known[1:2], chosen[1:2], covariance, HALF, candidates)
    assert torch.equal(alone[0], filled[1])
    scaled = SpatialCovariance(covariance.amplitudes * 4)
    twice, _ = fill_by_kriging((images - 0.5) * 2 + 0.5, known, chosen, scaled, HALF, CandidateCovariances(scaled))
    assert torch.allclose((twice - 0.5) / 2 + 0.5, filled, atol=1e-5)


def test_components_with_unlike_correlations_have_candidates_of_their_own() -> None:
    amplitudes = known_covariance().amplitudes[:1].repeat(3, 1)
    amplitudes[1] *= 5  # the same correlation
    amplitudes[2] = 0
    amplitudes[2, 1] = 1  # of neighbours alone
    assert CandidateCovariances(SpatialCovariance(amplitudes)).groups == [[0, 1], [2]]
    assert CandidateCovariances(SpatialCovariance(amplitudes)).shared_by([2, 1]) == [[1], [2]]


def test_one_colour_stays_and_nothing_is_known_without_statistics() -> None:
    images = torch.full((1, 2, 20, 20), 0.7)
    known = torch.ones_like(images, dtype=torch.bool)
    known[..., 6:12, 6:12] = False
    for covariance in (known_covariance(), SpatialCovariance.unknown(2)):
        filled, _ = fill_by_kriging(images, known, ALL, covariance, HALF, CandidateCovariances(covariance))
        assert torch.allclose(filled, images, atol=0.02)


@pytest.mark.parametrize("limit", [("_MOST_WEIGHED", 30), ("_WIDEST_WEIGHED", 8), ("DEEPEST_WEIGHED", 2.5)])
def test_candidates_are_not_weighed_for_large_holes(limit: tuple[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    covariance = known_covariance()
    images = stripes(0.6)
    known = torch.ones_like(images, dtype=torch.bool)
    known[..., 12:18, 13:20] = False
    plain, _ = fill_by_kriging(images, known, ALL, covariance, HALF)
    arguments = (images, known, ALL, covariance, HALF, CandidateCovariances(covariance))
    assert not torch.equal(fill_by_kriging(*arguments)[0], plain)
    monkeypatch.setattr(f"vqkit.layers.kriging.{limit[0]}", limit[1])
    assert torch.equal(fill_by_kriging(*arguments)[0], plain)
