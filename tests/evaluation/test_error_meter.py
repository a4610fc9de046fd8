"""Errors over a data set, by component and in the data's own units, against plain loops over images and pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vqkit.evaluation import error_meter, metrics, variance
from vqkit.evaluation.error_meter import ErrorMeter, Errors
from vqkit.evaluation.variance import VarianceMeter, Variances
from vqkit.interfaces import ComponentSpec, DataSpec

CPU = torch.device("cpu")
SHAPES = DataSpec.uniform("shapes", ("a", "b", "c"), 32, 20, "binary")
SURFACE = DataSpec(
    "surface",
    (
        ComponentSpec("heat", dtype="int16", low=-400, high=4600, minimum=-500, maximum=4700, unit="cK"),
        ComponentSpec("forest", "binary"),
        ComponentSpec("rain", dtype="float32", low=0, high=900, maximum=2000, transform="sqrt", unit="mm"),
    ),
    32,
    20,
)
"""Two measurements, one of them on a square-root scale, and a shape."""
Batches = tuple[Tensor, Tensor, Tensor]


def random_images(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def pair() -> Batches:
    """Predictions, targets and what is judged of 7 images of 3 channels of 32 x 20."""
    shape = (7, 3, 32, 20)
    return random_images(shape, 0), random_images(shape, 1), random_images(shape, 2) < 0.4


def measured(pair: Batches, sizes: list[int], spec: DataSpec = SHAPES, stored: Tensor | None = None) -> Errors:
    meter = ErrorMeter(spec, CPU)
    given = (*pair, pair[1] if stored is None else stored)
    for prediction, target, judged, own in zip(*(each.split(sizes) for each in given), strict=True):
        meter.add(prediction, target, judged, stored=None if stored is None else own)
    return meter.result()


def flat(errors: Errors) -> list[float]:
    """All figures, with 1e9 for those that are not defined."""
    figures = [*errors[:4], errors.pooled_psnr, *(value for each in errors.components for value in (*each, each.pooled_psnr))]
    return [1e9 if math.isnan(value) else value for value in figures]


def test_errors_by_hand(pair: Batches) -> None:
    prediction, target, judged = pair
    judged[1] = False
    judged[2, 1:] = False
    errors = measured(pair, [4, 3])
    images = [0, 2, 3, 4, 5, 6]
    assert errors.images == 6
    assert errors.mse == pytest.approx(float((prediction - target)[judged].double().square().mean()), rel=1e-6)
    assert errors.pooled_psnr == pytest.approx(-10 * math.log10(errors.mse))
    each = [float((prediction[image] - target[image])[judged[image]].double().square().mean()) for image in images]
    assert errors.psnr == pytest.approx(sum(-10 * math.log10(mse) for mse in each) / 6)
    similarity = metrics.similarity_map(prediction, target)
    assert errors.ssim == pytest.approx(sum(float(similarity[image][judged[image]].double().mean()) for image in images) / 6)
    shapes = metrics.overlap(prediction, target, judged)
    for component, with_it in enumerate((images, [0, 3, 4, 5, 6], [0, 3, 4, 5, 6])):
        own, count = errors.components[component], len(with_it)
        assert own.images == count
        where = judged[:, component]
        assert own.mse == pytest.approx(float((prediction - target)[:, component][where].double().square().mean()), rel=1e-6)
        assert own.pooled_psnr == pytest.approx(-10 * math.log10(own.mse))
        several = [(prediction - target)[image, component][where[image]].double().square().mean() for image in with_it]
        assert own.psnr == pytest.approx(sum(-10 * math.log10(float(mse)) for mse in several) / count)
        alike = [float(similarity[image, component][where[image]].double().mean()) for image in with_it]
        assert own.ssim == pytest.approx(sum(alike) / count)
        assert own.iou == pytest.approx(sum(float(shapes.iou[image, component]) for image in with_it) / count)
        assert own.dice == pytest.approx(sum(float(shapes.dice[image, component]) for image in with_it) / count)
        assert math.isnan(own.rmse) and math.isnan(own.mae)


def test_averaged_and_pooled_decibels_are_two_things() -> None:
    target = torch.zeros(2, 3, 32, 20)
    prediction = torch.zeros(2, 3, 32, 20)
    prediction[1] = 1.0
    errors = measured((prediction, target, torch.ones_like(target, dtype=torch.bool)), [2])
    assert errors.psnr == pytest.approx((100 + 0) / 2)
    assert errors.pooled_psnr == pytest.approx(10 * math.log10(2))


def test_errors_in_the_datas_own_units_are_those_of_what_would_be_written(pair: Batches) -> None:
    prediction, _, judged = pair
    prediction[0, :, 0] = 40.0  # beyond what the training data held
    stored = torch.stack(
        [
            torch.randint(-500, 4700, (7, 32, 20), generator=torch.Generator().manual_seed(3)).double(),
            255.0 * (random_images((7, 32, 20), 4) < 0.5),
            2000 * random_images((7, 32, 20), 5).double(),
        ],
        dim=1,
    ).to(SURFACE.stored_dtype)
    stored = torch.where(judged, stored, torch.nan)
    target = torch.where(judged, SURFACE.to_unit(stored), 0)
    errors = measured((prediction, target, judged), [3, 4], SURFACE, stored)
    for component, back in ((0, lambda unit: (unit * 5000 - 400).round().clip(-500, 4700)), (2, lambda unit: unit**2 * 900)):
        where = judged[:, component]
        written = back(prediction[:, component][where].double()).clip(-500, None).clip(None, 4700 if component == 0 else 2000)
        apart = written - stored[:, component][where].double()
        own = errors.components[component]
        assert own.mae == pytest.approx(float(apart.abs().mean()), rel=1e-5)
        assert own.rmse == pytest.approx(float(apart.square().mean().sqrt()), rel=1e-5)
        assert math.isnan(own.iou) and math.isnan(own.dice)
    assert math.isnan(errors.components[1].rmse)
    assert 0 < errors.components[1].iou < 1


def test_an_image_of_mixed_components_is_its_intensities(pair: Batches) -> None:
    prediction, target, judged = pair
    judged[0, ::2] = False  # only the shape is judged there
    mixed, kept = measured(pair, [7], SURFACE), [0, 2]
    alone = DataSpec.uniform("two", ("heat", "rain"), 32, 20, "intensity")
    without = measured(tuple(each[:, kept] for each in pair), [7], alone)  # type: ignore[arg-type]
    assert mixed[1:4] == pytest.approx(without[1:4])
    assert (mixed.images, without.images) == (7, 6)
    nothing = measured((prediction, target, judged & torch.tensor([False, True, False])[:, None, None]), [7], SURFACE)
    assert nothing.images == 7
    assert all(math.isnan(value) for value in nothing[1:4])


@pytest.mark.parametrize("spec", [SHAPES, SURFACE])
def test_errors_do_not_depend_on_the_batches(pair: Batches, spec: DataSpec) -> None:
    pair[2][1] = False  # an image with nothing missing
    pair[2][2, 1:] = False  # and one with little
    stored = spec.from_unit(pair[1])
    whole = measured(pair, [7], spec, stored)
    assert whole.images == 6
    for sizes in ([3, 3, 1], [1] * 7, [6, 1]):
        assert flat(measured(pair, sizes, spec, stored)) == pytest.approx(flat(whole), rel=1e-9)


def test_errors_are_summed_over_processes(pair: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = ErrorMeter(SHAPES, CPU), ErrorMeter(SHAPES, CPU)
    here.add(*(each[:4] for each in pair))
    there.add(*(each[4:] for each in pair))

    def reduce(*sums: Tensor) -> None:
        for mine, theirs in zip(sums, (there._whole, there._parts), strict=True):
            mine += theirs

    expected = measured(pair, [7])
    monkeypatch.setattr(error_meter, "all_reduce", reduce)
    assert flat(here.result()) == pytest.approx(flat(expected), rel=1e-9)


@pytest.mark.parametrize("poison", [math.nan, math.inf, -1e30])
def test_what_is_not_judged_changes_no_figure(pair: Batches, poison: float) -> None:
    prediction, target, judged = pair
    judged[3], judged[:, 1, :, 10:] = False, False
    stored = SURFACE.from_unit(target)
    # SSIM's windows reach beyond what is judged: both images are equal there, as `evaluate` makes them.
    blank = torch.where(judged, prediction, 0), torch.where(judged, target, 0)
    first = measured((*blank, judged), [7], SURFACE, stored)
    assert flat(measured((*blank, judged), [7], SURFACE, torch.where(judged, stored, poison))) == flat(first)
    assert not any(math.isnan(value) for value in first[:4])


def test_a_diverged_model_has_no_good_figures(pair: Batches) -> None:
    prediction, _, judged = pair
    prediction[2, 0, judged[2, 0].nonzero()[0][0]] = torch.nan
    errors = measured(pair, [7])
    assert math.isnan(errors.mse) and math.isnan(errors.psnr)
    assert [math.isnan(each.mse) for each in errors.components] == [True, False, False]


def test_a_component_that_was_never_judged_has_no_figures(pair: Batches) -> None:
    pair[2][:, 1] = False
    errors = measured(pair, [7])
    assert [each.images for each in errors.components] == [7, 0, 7]
    assert all(math.isnan(value) for value in errors.components[1][1:])


def variances(images: Tensor, present: Tensor, sizes: list[int], spec: DataSpec = SURFACE) -> Variances:
    meter = VarianceMeter(spec, CPU)
    for part in zip(images.split(sizes), present.split(sizes), strict=True):
        meter.add(*part)
    return meter.result()


def test_variances_are_those_of_all_present_pixels() -> None:
    images = random_images((10, 3, 8, 8), 8) * torch.tensor([1.0, 0.2, 0.7])[:, None, None]
    present = random_images((10, 3, 8, 8), 9) < 0.6
    found = variances(torch.where(present, images, torch.nan), present, [4, 4, 2])
    for component in range(3):
        own = images[:, component][present[:, component]].double()
        assert found.components[component] == pytest.approx(float(own.var(unbiased=False)))
    both = torch.cat([images[:, component][present[:, component]] for component in (0, 2)]).double()
    assert found.common == pytest.approx(float(both.var(unbiased=False))), "a shape is not among mixed components' pixels"
    assert found.constant == (None, None, None)
    everything = variances(images, torch.ones_like(present), [10], SHAPES)
    assert everything.common == pytest.approx(float(images.double().var(unbiased=False)))


def test_a_constant_component_is_constant_exactly() -> None:
    images, present = torch.full((6, 3, 8, 8), 0.3), torch.ones(6, 3, 8, 8, dtype=torch.bool)
    images[:, 1, 0, 0] = 0.4
    present[:, 2] = False
    found = variances(images, present, [2, 4], SHAPES)
    assert found.constant == (pytest.approx(0.3), None, None)
    assert found.components[0] == 0
    assert found.components[1] > 0
    assert math.isnan(found.components[2])
    assert variances(torch.full((2, 3, 8, 8), 0.3), torch.ones(2, 3, 8, 8, dtype=torch.bool), [2]).common == 0


def test_variances_are_summed_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    images, present = random_images((5, 3, 8, 8), 10), random_images((5, 3, 8, 8), 11) < 0.5
    here, there = VarianceMeter(SHAPES, CPU), VarianceMeter(SHAPES, CPU)
    here.add(images[:3], present[:3])
    there.add(images[3:], present[3:])
    expected = variances(images, present, [5], SHAPES)
    monkeypatch.setattr(variance, "all_reduce", lambda sums: sums.add_(there._sums))
    monkeypatch.setattr(variance, "gather", lambda extremes: [extremes, there._extremes])
    found = here.result()
    assert found.common == pytest.approx(expected.common)
    assert found.components == pytest.approx(expected.components)
    assert found.constant == expected.constant
