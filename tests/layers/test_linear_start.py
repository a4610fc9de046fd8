"""Where the filling in of intensities starts: whole components, holes, and both, from what is observed alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.layers.candidate_covariances import CandidateCovariances
from vqkit.layers.harmonic import fill_smoothly
from vqkit.layers.kriging import fill_by_kriging
from vqkit.layers.linear_guess import LinearGuess, PatchStatistics, guess, linear_guess, measure_patches
from vqkit.layers.linear_start import LinearStart
from vqkit.layers.spatial_covariance import CovarianceMeter, SpatialCovariance


def mixtures(count: int, size: int = 16, seed: int = 0) -> Tensor:
    """Smooth images of three components, the third of which is the difference of the others."""
    noise = torch.rand(count, 2, size + 4, size + 4, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1)
    return torch.cat([smooth, 0.5 + smooth[:, :1] - smooth[:, 1:]], dim=1)


WIDE = torch.tensor([[-9.0, 9.0]] * 3)


def fitted() -> tuple[LinearStart, PatchStatistics]:
    statistics = measure_patches([(mixtures(60), None)], 3)
    start = LinearStart(WIDE)
    start.set_statistics(statistics, covariance())
    return start, statistics


def covariance() -> SpatialCovariance:
    meter = CovarianceMeter(3)
    meter.add(mixtures(60))
    return meter.result()


def test_whole_components_are_guessed_from_the_kept_ones() -> None:
    start, statistics = fitted()
    images = mixtures(3, seed=1)
    keep = torch.tensor([[True, True, False], [False, True, True], [True, False, False]])
    observed = keep[:, :, None, None].expand_as(images)
    answers = start(images, observed)
    for number in range(3):
        how = LinearGuess(*(part[None] for part in linear_guess(statistics, keep[number])))
        shown = torch.where(observed, images, 0)[number : number + 1]
        assert torch.allclose(answers[number : number + 1], guess(shown, how), atol=1e-6)
    # A component that is a sum of kept ones is known.
    assert float((answers[0, 2] - images[0, 2]).abs().max()) < 2e-3


def test_what_is_hidden_does_not_matter() -> None:
    start, _ = fitted()
    images = mixtures(4, seed=2)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[0, 1] = False
    observed[1, :, 3:9, 4:10] = False
    observed[2, 0, :, 5:] = False
    observed[3] = False
    spoiled = torch.where(observed, images, torch.nan)
    assert torch.equal(start(images, observed), start(spoiled, observed))


def test_a_hole_in_all_components_is_filled_in_from_around_it() -> None:
    start, statistics = fitted()
    images = mixtures(2, seed=3)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[:, :, 4:10, 5:11] = False
    holes = torch.ones(2, 3, dtype=torch.bool)
    expected, _ = fill_by_kriging(images, observed, holes, covariance(), statistics.means(3), CandidateCovariances(covariance()))
    assert torch.allclose(start(images, observed)[~observed], expected[~observed])


def test_a_component_that_is_missing_is_guessed_from_filled_in_holes_of_the_others() -> None:
    start, statistics = fitted()
    images = mixtures(2, seed=7)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[:, :, 4:10, 5:11] = False
    observed[:, 1] = False
    holes = torch.tensor([[True, False, True]]).expand(2, 3)
    filled, _ = fill_by_kriging(images, observed, holes, covariance(), statistics.means(3), CandidateCovariances(covariance()))
    how = linear_guess(statistics, torch.tensor([True, False, True]))
    expected = guess(filled, LinearGuess(*(part.expand(2, *part.shape) for part in how)))
    assert torch.allclose(start(images, observed)[:, 1], expected[:, 1], atol=1e-6)


def test_a_hole_around_which_there_are_too_many_pixels_is_continued_smoothly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.layers.kriging._MOST_AROUND", 20)
    start, _ = fitted()
    images = mixtures(2, seed=8)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[0, :, 4:10, 5:11] = False
    assert torch.allclose(start(images, observed)[~observed], fill_smoothly(images, observed)[~observed])


def test_a_hole_in_one_component_is_guessed_from_the_others() -> None:
    start, _ = fitted()
    images = mixtures(8, seed=4)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[:, 2, 4:12, 4:12] = False
    hole = ~observed
    ours = float((start(images, observed) - images)[hole].abs().max())
    smooth = float((fill_smoothly(images, observed) - images)[hole].abs().max())
    assert ours < 2e-3 < 0.1 * smooth


def test_new_statistics_replace_remembered_weights() -> None:
    start, _ = fitted()
    images = mixtures(1, seed=5)
    observed = torch.tensor([True, False, True])[None, :, None, None].expand_as(images)
    before = start(images, observed)
    start.set_statistics(PatchStatistics.unknown(3), SpatialCovariance.unknown(3))
    assert not torch.allclose(before, start(images, observed))
    start.load_state_dict(fitted()[0].state_dict())
    assert torch.equal(before, start(images, observed))


def test_guesses_stay_within_what_the_training_data_held() -> None:
    _, statistics = fitted()
    start = LinearStart(torch.tensor([[0.0, 1.0], [0.45, 0.5], [0.0, 1.0]]))
    start.set_statistics(statistics, covariance())
    images = mixtures(4, seed=6)
    observed = torch.tensor([True, False, True])[None, :, None, None].expand_as(images)
    answers = start(images, observed)
    assert float(answers[:, 1].min()) >= 0.45 - 1e-6
    assert float(answers[:, 1].max()) <= 0.5
    # What is observed is given back, also beyond.
    beyond = 3 * images
    assert torch.equal(start(beyond, observed)[:, [0, 2]], beyond[:, [0, 2]])


def test_holes_follow_statistics_that_change() -> None:
    images = mixtures(2, seed=3)
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[:, :, 4:10, 5:11] = False
    start, statistics = fitted()
    before = start(images, observed)
    other = SpatialCovariance(covariance().amplitudes.flip(1))
    start.set_statistics(statistics, other)
    fresh, _ = fitted()
    fresh.set_statistics(statistics, other)
    assert torch.equal(start(images, observed), fresh(images, observed))
    assert not torch.equal(start(images, observed), before)
