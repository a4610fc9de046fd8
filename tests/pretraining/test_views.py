"""Views of an image: each by what was drawn for it, and by nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.config import ViewsConfig
from vqkit.interfaces import ComponentSpec, DataSpec, fully_observed
from vqkit.pretraining.views import ViewParameters, apply_view, sample_parameters

SPEC = DataSpec.uniform("toy", ("a", "b", "c"), 8, 12, "intensity")
BINARY = DataSpec.uniform(SPEC.name, SPEC.components, SPEC.height, SPEC.width, "binary")
SHAPE = (6, 3, 8, 12)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images() -> Tensor:
    return torch.rand(SHAPE, generator=generator(5))


def still(count: int = 6) -> ViewParameters:
    """A view that changes nothing."""
    ones, zeros = torch.ones(count, 3), torch.zeros(count)
    nothing = torch.zeros(count, dtype=torch.bool)
    return ViewParameters(
        ones[:, 0], torch.zeros(count, 2), nothing, ones, ones, zeros, torch.ones((count, *SHAPE[1:]), dtype=torch.bool)
    )


def test_a_view_without_changes_is_the_image() -> None:
    torch.testing.assert_close(apply_view(images(), still(), SPEC).images, images(), rtol=0, atol=1e-6)
    assert torch.equal(apply_view(images(), still(), BINARY).images, images())


def test_a_part_is_cut_out_and_enlarged() -> None:
    draws = still()._replace(
        scale=torch.full((6,), 0.5), place=torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1], [0, 0], [0, 0]])
    )
    cut = apply_view(images(), draws, BINARY).images
    for number, (left, top) in enumerate([(0, 0), (6, 0), (0, 4), (6, 4), (3, 2)]):
        part = images()[number, :, top : top + 4, left : left + 6]
        assert torch.equal(cut[number], part.repeat_interleave(2, 1).repeat_interleave(2, 2))


def test_mirroring_is_left_to_right_and_each_image_s_own() -> None:
    draws = still()._replace(mirrored=torch.tensor([True, False, True, False, False, False]))
    mirrored = apply_view(images(), draws, BINARY).images
    assert torch.equal(mirrored[[0, 2]], images()[[0, 2]].flip(3))
    assert torch.equal(mirrored[[1, 3, 4, 5]], images()[[1, 3, 4, 5]])


def test_each_component_has_a_brightness_and_a_contrast_of_its_own() -> None:
    contrast, brightness = torch.full((6, 3), 0.5), torch.ones(6, 3)
    brightness[2, 1], contrast[2, 1] = 1.2, 0.9
    changed = apply_view(images(), still()._replace(contrast=contrast, brightness=brightness), SPEC).images
    mean = images()[2, 1].mean()
    torch.testing.assert_close(changed[2, 1], ((images()[2, 1] - mean) * 0.9 + mean * 1.2).clamp(0, 1))
    mean = images()[4, 0].mean()
    torch.testing.assert_close(changed[4, 0], (images()[4, 0] + mean) / 2)


def test_blur_is_a_gaussian_of_each_image_s_own_deviation() -> None:
    large = torch.rand(2, 3, 100, 120, generator=generator(6))
    draws = ViewParameters(*(each[:2] for each in still()))._replace(blur=torch.tensor([0.0, 0.8]))
    blurred = apply_view(large, draws._replace(observed=fully_observed(large)), SPEC).images
    torch.testing.assert_close(blurred[0], large[0], rtol=0, atol=1e-4)
    line = torch.exp(-(torch.arange(-3, 4) ** 2) / (2 * 0.8**2))
    window = line[:, None] * line / line.sum() ** 2
    expected = F.conv2d(large[1][:, None], window[None, None])[:, 0]
    torch.testing.assert_close(blurred[1, :, 3:-3, 3:-3], expected, rtol=0, atol=1e-4)


def test_binary_components_stay_binary() -> None:
    seen = apply_view(
        images().round(), sample_parameters(SHAPE, ViewsConfig(crop=0.3, kind="components"), generator(), 0.5), BINARY
    )
    assert set(seen.images.unique().tolist()) == {0.0, 1.0}


def test_a_masked_view_says_what_it_shows() -> None:
    config = ViewsConfig(kind="components", keep="one")
    seen = apply_view(images(), sample_parameters(SHAPE, config, generator(), 1.0), SPEC)
    kept = seen.observed.flatten(2)
    assert torch.equal(kept.all(2), kept.any(2))  # whole components
    assert kept.all(2).sum(1).tolist() == [1] * 6
    assert len({tuple(row) for row in kept.all(2).tolist()}) > 1  # not the same one in each
    whole = apply_view(images(), sample_parameters(SHAPE, ViewsConfig(kind="components"), generator(), 0.0), SPEC)
    assert whole.observed.all()


def test_draws_stay_in_their_ranges() -> None:
    drawn = sample_parameters(
        (2000, 3, 200, 300), ViewsConfig(kind="boxes", crop=0.25, flip=0.2, jitter=0.3, blur=0.5), generator(), 0.0
    )
    assert 0.5 <= drawn.scale.min() < 0.52 and 0.98 < drawn.scale.max() <= 1
    assert float(drawn.scale.square().mean()) == pytest.approx(0.625, abs=0.02)  # the area is what is uniform
    assert drawn.place.min() < -0.98 and drawn.place.max() > 0.98
    assert float(drawn.mirrored.float().mean()) == pytest.approx(0.2, abs=0.03)
    for factors in (drawn.contrast, drawn.brightness):
        assert 0.7 <= factors.min() < 0.71 and 1.29 < factors.max() <= 1.3
    blurred = drawn.blur[drawn.blur > 0]
    assert len(blurred) / 2000 == pytest.approx(0.5, abs=0.04)
    assert blurred.min() >= 0.1 / 224 * 200 and blurred.max() <= 2 / 224 * 200


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    first, again, other = (
        apply_view(images(), sample_parameters(SHAPE, ViewsConfig(kind="boxes"), generator(seed), 0.5), SPEC) for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_part_of_a_batch_has_the_views_of_the_whole() -> None:
    drawn = sample_parameters(SHAPE, ViewsConfig(kind="boxes"), generator(), 0.5)
    whole, half = apply_view(images(), drawn, SPEC), apply_view(images()[3:], ViewParameters(*(each[3:] for each in drawn)), SPEC)
    torch.testing.assert_close(half.images, whole.images[3:])
    assert torch.equal(half.observed, whole.observed[3:])


def test_what_is_absent_enters_no_mean_and_no_blur() -> None:
    large = torch.rand(2, 3, 100, 120, generator=generator(6))
    present = torch.ones(2, 3, 100, 120, dtype=torch.bool)
    present[:, :, :, :50], present[1, 2] = False, False
    contrast = torch.full((2, 3), 0.5)
    draws = ViewParameters(*(each[:2] for each in still()))._replace(
        blur=torch.tensor([0.0, 0.8]), contrast=contrast, observed=fully_observed(large)
    )
    wide = DataSpec.uniform("wide", ("a", "b", "c"), 100, 120, "intensity")
    view = apply_view(torch.where(present, large, torch.nan), draws, wide, present)
    assert torch.equal(view.observed, present)
    assert not bool(view.images[~present].any())
    mean = large[0, :, :, 50:].mean(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(view.images[0, :, :, 50:], (large[0, :, :, 50:] + mean) / 2, rtol=0, atol=1e-4)
    # As if the image ended where the data do, except that nothing is replicated beyond: the blur is a mean of what is there.
    jittered = (large[1, :2, :, 50:] + large[1, :2, :, 50:].mean(dim=(1, 2), keepdim=True)) / 2
    line = torch.exp(-(torch.arange(-3, 4) ** 2) / (2 * 0.8**2))
    window = (line[:, None] * line)[None, None]
    total, weight = (F.conv2d(F.pad(each[:, None], (3, 0)), window)[:, 0] for each in (jittered, torch.ones_like(jittered)))
    torch.testing.assert_close(view.images[1, :2, 3:-3, 50:-3], total / weight, rtol=0, atol=1e-4)


def test_shapes_beside_intensities_stay_shapes() -> None:
    mixed = DataSpec("mixed", (*SPEC.component_specs[:2], BINARY.component_specs[2]), SPEC.height, SPEC.width)
    drawn = sample_parameters(SHAPE, ViewsConfig(blur=1.0), generator(), 0.0)
    shapes = torch.cat([images()[:, :2], images()[:, 2:].round()], dim=1)
    view, smooth = apply_view(shapes, drawn, mixed), apply_view(shapes, drawn, SPEC)
    assert set(view.images[:, 2].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(view.images[:, :2], smooth.images[:, :2])


def test_rare_values_beyond_the_range_are_not_cut_off() -> None:
    spread = tuple(ComponentSpec(name, dtype="uint16", low=0, high=1000, maximum=4000) for name in SPEC.components)
    tall = 3 * images()
    changed = apply_view(tall, still()._replace(brightness=torch.full((6, 3), 1.5)), DataSpec("tall", spread, 8, 12)).images
    mean = tall.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(changed, (tall + 0.5 * mean).clamp(0, 4))
    assert float(changed.max()) > 3


def test_only_components_that_an_image_has_are_kept() -> None:
    held = torch.tensor([[True, True, False]] * 6)
    for seed in range(5):
        observed = sample_parameters(SHAPE, ViewsConfig(kind="components"), generator(seed), 1.0, held).observed
        assert bool(observed[:, :2].flatten(2).any(2).sum(1).eq(1).all())
