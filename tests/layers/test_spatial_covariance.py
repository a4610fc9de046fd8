"""The covariance of pixels by distance: its fit to sample covariances, and what a covariance must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vqkit.layers.spatial_covariance import SCALES, CovarianceMeter, SpatialCovariance


def known_covariance() -> SpatialCovariance:
    """Of two components, one with noise."""
    amplitudes = torch.zeros(2, len(SCALES) + 2, dtype=torch.float64)
    amplitudes[0, 3], amplitudes[0, -1] = 0.02, 0.005
    amplitudes[1, 0], amplitudes[1, 2], amplitudes[1, 4] = 0.01, 0.01, 0.03
    return SpatialCovariance(amplitudes)


def field(covariance: SpatialCovariance, count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Gaussian fields with a covariance, float32 [count, C, H, W] around 1/2, drawn by brute force."""
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double()
    matrices = covariance.between(torch.cdist(places, places)) + covariance.nugget[:, None, None] * torch.eye(len(places))
    factors = torch.linalg.cholesky(matrices + 1e-9 * torch.eye(len(places)))
    noise = torch.randn(count, len(matrices), len(places), 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return 0.5 + (factors @ noise).view(count, len(matrices), height, width).float()


def test_the_covariance_of_fields_is_found() -> None:
    expected = known_covariance()
    meter = CovarianceMeter(2)
    for seed in range(4):
        meter.add(field(expected, 200, 14, 14, seed))
    found = meter.result()
    distances = torch.tensor([1.0, 2.0, 3.0, 5.0, 8.0])
    assert torch.allclose(found.variance, expected.variance, rtol=0.05)
    assert torch.allclose(found.between(distances), expected.between(distances), rtol=0.1, atol=1e-3)
    assert float(found.nugget[0]) < 0.002
    assert float(found.nugget[1]) == pytest.approx(0.01, abs=0.003)


def test_sums_are_those_of_all_pairs_that_are_present() -> None:
    generator = torch.Generator().manual_seed(1)
    images, present = torch.rand(3, 1, 7, 9, generator=generator), torch.rand(3, 1, 7, 9, generator=generator) < 0.7
    meter = CovarianceMeter(1)
    meter.add(torch.where(present, images, torch.nan), present)
    for number, (down, right) in enumerate(meter.offsets):
        pairs = []
        for image, row, column in np.ndindex(3, 7, 9):
            other = row + down, column + right
            if other[0] < 7 and 0 <= other[1] < 9 and present[image, 0, row, column] and present[image, 0, other[0], other[1]]:
                pairs.append((float(images[image, 0, row, column]), float(images[image, 0, other[0], other[1]])))
        count, first, second, products = meter.sums[number, 0].tolist()
        shift = 0.0 if meter.shift is None else float(meter.shift)
        assert count == len(pairs)
        assert first == pytest.approx(sum(one - shift for one, _ in pairs), abs=1e-4)
        assert second == pytest.approx(sum(other - shift for _, other in pairs), abs=1e-4)
        assert products == pytest.approx(sum((one - shift) * (other - shift) for one, other in pairs), abs=1e-4)


def test_a_fitted_covariance_is_one() -> None:
    """Whatever the images, no combination of pixels may have a variance below 0."""
    checks = (torch.arange(12)[:, None] + torch.arange(12)[None]) % 2 * 0.8 + 0.1
    meter = CovarianceMeter(1)
    meter.add(checks.expand(4, 1, 12, 12))
    places = torch.cartesian_prod(torch.arange(12), torch.arange(12)).double()
    matrix = meter.result().between(torch.cdist(places, places))[0]
    assert float(torch.linalg.eigvalsh(matrix).min()) > -1e-9


def test_a_component_that_is_constant_or_never_present_says_nothing() -> None:
    images = torch.rand(2, 3, 8, 8)
    images[:, 1] = 0.25
    present = torch.ones(2, 3, 8, 8, dtype=torch.bool)
    present[:, 2] = False
    meter = CovarianceMeter(3)
    meter.add(images, present)
    found = meter.result()
    assert torch.equal(found.amplitudes[1:], SpatialCovariance.unknown(2).amplitudes)
    assert float(found.between(torch.tensor(1.0))[0]) >= 0


def test_covariances_by_offset_are_those_of_distances() -> None:
    table = known_covariance().by_offset(3, 4)
    assert torch.equal(table[:, 2, 3], known_covariance().between(torch.tensor(13.0, dtype=torch.float64).sqrt()))
    assert torch.equal(table[:, 0, 0], known_covariance().variance - known_covariance().nugget)
