"""Kriging against conditional expectations of Gaussian fields by brute force."""

from __future__ import annotations

import pytest
import torch
from tests.layers.test_spatial_covariance import field, known_covariance

from vqkit.layers.harmonic import fill_smoothly
from vqkit.layers.kriging import fill_by_kriging
from vqkit.layers.spatial_covariance import SpatialCovariance

HALF = torch.full((2,), 0.5, dtype=torch.float64)
ALL = torch.ones(1, 2, dtype=torch.bool)


def test_a_hole_is_the_conditional_expectation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.layers.kriging._REACH", (20,))  # all pixels of the image
    monkeypatch.setattr("vqkit.layers.kriging.SHARED", 0.0)
    covariance = known_covariance()
    image = field(covariance, 1, 9, 11)
    known = torch.ones_like(image, dtype=torch.bool)
    known[0, 0, 2:5, 6:] = False
    known[0, 1, 4:, 3:7] = False
    filled, done = fill_by_kriging(image, known, ALL, covariance, HALF)
    assert bool(done.all())
    places = torch.cartesian_prod(torch.arange(9), torch.arange(11)).double()
    for component in range(2):
        seen = known[0, component].flatten()
        whole = covariance.between(torch.cdist(places, places))[component]
        noisy = whole + (covariance.nugget[component] + 1e-4 * covariance.variance[component]) * torch.eye(99)
        expected = 0.5 + whole[~seen][:, seen] @ torch.linalg.inv(noisy[seen][:, seen]) @ (
            image[0, component].flatten()[seen].double() - 0.5
        )
        assert torch.allclose(filled[0, component].flatten()[~seen].double(), expected, atol=1e-5)


def test_what_is_known_stays_and_hidden_values_do_not_matter() -> None:
    images = field(known_covariance(), 3, 10, 12)
    known = torch.ones_like(images, dtype=torch.bool)
    known[0, :, 3:7, 3:7] = False
    known[1, 0, :, 6:] = False
    known[2] = False
    chosen = torch.tensor([[True, True], [True, False], [True, True]])
    filled, done = fill_by_kriging(images, known, chosen, known_covariance(), HALF)
    assert torch.equal(filled[known], images[known])
    assert torch.equal(done, torch.tensor([[True, True], [True, False], [False, False]]))
    spoiled, _ = fill_by_kriging(torch.where(known, images, torch.nan), known, chosen, known_covariance(), HALF)
    assert torch.equal(filled, spoiled)


def test_an_images_own_brightness_fills_its_holes() -> None:
    bright = torch.full((1, 2, 20, 20), 0.9)
    known = torch.ones_like(bright, dtype=torch.bool)
    known[..., 4:16, 4:16] = False
    filled, _ = fill_by_kriging(bright, known, ALL, known_covariance(), HALF)
    assert float((filled - 0.9).abs().max()) < 0.06


def test_fields_are_filled_in_better_than_by_smooth_interpolation() -> None:
    covariance = known_covariance()
    images = field(covariance, 100, 12, 12, seed=5)
    known = torch.ones_like(images, dtype=torch.bool)
    known[..., 3:9, 2:8] = False
    ours, _ = fill_by_kriging(images, known, torch.ones(100, 2, dtype=torch.bool), covariance, HALF)
    errors = [(each - images).square().mean(dim=(0, 2, 3)) for each in (ours, fill_smoothly(images, known))]
    assert bool((errors[0] < 1.01 * errors[1]).all())
    assert float(errors[0][0]) < 0.97 * float(errors[1][0])


def test_holes_that_are_too_rugged_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqkit.layers.kriging._MOST_AROUND", 30)
    images = field(known_covariance(), 1, 12, 12)
    known = torch.ones_like(images, dtype=torch.bool)
    known[0, 0, 5:7, 5:7] = False
    known[0, 1, ::2, ::2] = False
    _, done = fill_by_kriging(images, known, ALL, known_covariance(), HALF)
    assert torch.equal(done, torch.tensor([[True, False]]))


def test_with_no_statistics_a_hole_is_at_the_mean_of_its_surroundings() -> None:
    images = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    known = torch.ones_like(images, dtype=torch.bool)
    known[..., 2:6, 3:5] = False
    filled, _ = fill_by_kriging(images, known, ALL, SpatialCovariance.unknown(2), HALF)
    around = torch.zeros(8, 8, dtype=torch.bool)
    around[:, 1:7] = True
    means = torch.where(known & around, images, 0).sum((2, 3)) / (known & around).sum((2, 3))
    assert torch.allclose(filled[..., 2:6, 3:5], means[..., None, None].expand(1, 2, 4, 2), atol=0.02)
