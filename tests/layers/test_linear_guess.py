"""The linear guess against least squares, and its statistics with gaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from vqkit.layers.linear_guess import LinearGuess, PatchMeter, PatchStatistics, guess, linear_guess, measure_patches, patch_stride


def related_images(count: int, components: int = 3, size: int = 12, seed: int = 0) -> Tensor:
    """Smooth images whose components are blurred mixtures of each other."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, components, size + 4, size + 4, generator=generator)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, stride=1)[..., :size, :size]
    mixing = torch.randn(components, components, generator=torch.Generator().manual_seed(9))
    return 0.4 + 0.2 * torch.einsum("ij,bjhw->bihw", mixing, smooth) + 0.01 * torch.randn(smooth.shape, generator=generator)


def batch_of(*each: LinearGuess) -> LinearGuess:
    """Guesses of single images as those of a batch."""
    return LinearGuess(*(torch.stack(parts) for parts in zip(*each, strict=True)))


def patches(images: Tensor, radius: int) -> np.ndarray:
    """Every neighbourhood inside the images, one after the other in plain loops: [P, C, side, side]."""
    side = 2 * radius + 1
    array = images.double().numpy()
    rows = [
        image[:, top : top + side, left : left + side]
        for image in array
        for top in range(array.shape[2] - side + 1)
        for left in range(array.shape[3] - side + 1)
    ]
    return np.stack(rows)


@pytest.mark.parametrize("radius", [0, 1, 2])
@pytest.mark.parametrize("kept", [(0,), (1, 2)])
def test_the_weights_are_those_of_least_squares(radius: int, kept: tuple[int, ...]) -> None:
    images = related_images(40)
    meter = PatchMeter(3, radius)
    meter.add(images[:15])
    meter.add(images[15:])
    statistics = meter.result()
    rows = patches(images, radius)
    given = rows[:, list(kept)].reshape(len(rows), -1)
    missing = [c for c in range(3) if c not in kept]
    wanted = rows[:, missing, radius, radius]
    design = np.column_stack([given, np.ones(len(given))])
    solution = np.linalg.lstsq(design, wanted, rcond=None)[0]
    mask = torch.zeros(3, dtype=torch.bool)
    mask[list(kept)] = True
    how = linear_guess(statistics, mask, ridge=0.0)
    weights = how.weights
    found = weights[missing][:, list(kept)].flatten(1).T.numpy()
    assert np.abs(found - solution[:-1]).max() < 2e-3
    # The predictions agree, inside of the images.
    answer = guess(images[:1], batch_of(how))[0, missing]
    inner = answer[:, radius : 12 - radius, radius : 12 - radius].flatten(1).T.numpy()
    expected = (design @ solution)[: len(inner)]
    assert np.abs(inner - expected).max() < 1e-3
    assert torch.equal(weights[list(kept)][:, missing], torch.zeros_like(weights[list(kept)][:, missing]))


def test_what_is_kept_is_returned_as_it_is() -> None:
    images = related_images(6)
    statistics = measure_patches([(images, None)], 3)
    kept = torch.tensor([True, False, True])
    answer = guess(images, batch_of(*[linear_guess(statistics, kept)] * 6))
    assert torch.allclose(answer[:, kept], images[:, kept], atol=1e-6)


def test_each_image_of_a_batch_has_its_own_weights() -> None:
    images = related_images(2)
    statistics = measure_patches([(related_images(30), None)], 3)
    both = [linear_guess(statistics, torch.tensor(kept)) for kept in ([True, False, False], [False, True, True])]
    together = guess(images, batch_of(*both))
    alone = torch.cat([guess(images[i : i + 1], batch_of(both[i])) for i in range(2)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_absent_pixels_enter_nothing() -> None:
    images = related_images(20)
    present = torch.rand(images.shape, generator=torch.Generator().manual_seed(3)) > 0.2
    results = []
    for value in (0.0, 1e6, float("nan"), float("inf")):
        meter = PatchMeter(3, 1)
        meter.add(torch.where(present, images, value), present)
        results.append(meter.result())
    for other in results[1:]:
        assert torch.equal(results[0].covariance, other.covariance)
        assert torch.equal(results[0].mean, other.mean)


def test_covariances_with_gaps_are_over_the_pairs_that_are_there() -> None:
    images = related_images(30)
    present = (torch.rand(30, 3, 1, 1, generator=torch.Generator().manual_seed(4)) > 0.3).expand_as(images)
    meter = PatchMeter(3, 0)
    meter.add(images, present)
    statistics = meter.result()
    for first in range(3):
        for second in range(3):
            both = present[:, first] & present[:, second]
            pair = np.stack([images[:, c][both].double().numpy() for c in (first, second)])
            expected = np.cov(pair, bias=True)[0, 1]
            assert float(statistics.covariance[first, second]) == pytest.approx(expected, abs=2e-4)


def test_with_gaps_the_covariance_has_no_negative_eigenvalue() -> None:
    images = related_images(4, size=5)
    present = torch.rand(images.shape, generator=torch.Generator().manual_seed(1)) > 0.5
    meter = PatchMeter(3, 1)
    meter.add(images, present)
    assert float(torch.linalg.eigvalsh(meter.result().covariance).min()) > -1e-9


def test_a_smaller_neighbourhood_is_a_part_of_the_larger() -> None:
    images = related_images(30)
    large = measure_patches([(images[:, :, :, :], None)], 3)
    small = large.reduced(3, 0)
    assert small.covariance.shape == (3, 3)
    assert torch.equal(small.covariance.diagonal(), large.variances(3))


def test_without_statistics_the_guess_is_the_middle() -> None:
    unknown = PatchStatistics.unknown(2)
    answer = guess(torch.rand(1, 2, 8, 8), batch_of(linear_guess(unknown, torch.tensor([True, False]))))
    assert torch.allclose(answer[:, 1], torch.full((1, 8, 8), 0.5), atol=1e-4)


def test_images_smaller_than_the_neighbourhood_are_extended() -> None:
    meter = PatchMeter(1)
    meter.add(torch.rand(3, 1, 4, 3))
    assert bool(torch.isfinite(meter.result().covariance).all())


def test_the_stride_limits_the_work() -> None:
    assert patch_stride(240, 48, 48) == 1
    assert patch_stride(4096, 64, 64) == 4


@pytest.mark.parametrize("radius", [1, 2])
def test_a_trend_across_the_image_leaves_no_bias(radius: int) -> None:
    # On small images the pixels of a neighbourhood have different means: a constant part of the answer stands for that.
    trend = torch.linspace(0, 1, 6)[:, None].expand(6, 6)
    images = 0.2 * related_images(60, size=6) + trend
    meter = PatchMeter(3, radius)
    meter.add(images)
    how = batch_of(*[linear_guess(meter.result(), torch.tensor([True, False, False]), ridge=0.0)] * 60)
    inner = slice(radius, 6 - radius)
    error = (guess(images, how) - images)[:, 1:, inner, inner]
    assert float(error.mean(dim=(0, 2, 3)).abs().max()) < 1e-5
