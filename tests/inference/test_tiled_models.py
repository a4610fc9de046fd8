"""Images larger than the tile through a model and a prior whose answers are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_pipeline import expected_values
from torch import Tensor

from painting import SHAPES, STAINS, pipeline, sampler
from small_priors import small_prior
from vqkit.errors import ConfigError, DataError
from vqkit.inference.conditioning import code_spec
from vqkit.inference.postprocess import fill_stored
from vqkit.inference.sampler import Completions, Sampler
from vqkit.interfaces import DataSpec
from vqkit.interfaces.priors import Sampling

WIDE_STAINS = DataSpec(
    "cells", tuple(dataclasses.replace(each, dtype="uint16", high=4095, maximum=4095) for each in STAINS.component_specs), 8, 8
)


def sections(count: int) -> torch.Tensor:
    """Images uint8 [count, 3, 20, 28] of `SHAPES`."""
    numbers = torch.randint(4, (count, 20, 28), generator=torch.Generator().manual_seed(0))
    return torch.stack([numbers == 1, numbers == 2, numbers == 3], dim=1).to(torch.uint8) * 255


def right_half_hidden(images: torch.Tensor) -> torch.Tensor:
    observed = torch.ones_like(images, dtype=torch.bool)
    observed[..., 14:] = False
    return observed


def test_a_model_whose_tiles_agree_gives_what_it_would_give_at_once() -> None:
    images = sections(2)
    observed = right_half_hidden(images)
    expected = pipeline(SHAPES, tile_overlap=4).fill_unit(images / 255, observed, batch_size=5)
    torch.testing.assert_close(expected, expected_values(observed, images), atol=1e-6, rtol=0)


def test_conditions_are_those_of_each_image() -> None:
    images = sections(3)
    expected = pipeline(SHAPES).fill(images, right_half_hidden(images), {"width_px": [10, 20, 30]}, batch_size=4)
    torch.testing.assert_close(expected.amin(dim=(1, 2, 3)), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(expected.amax(dim=(1, 2, 3)), torch.tensor([0.1, 0.2, 0.3]))


def test_tiles_without_wanted_pixels_are_left_out() -> None:
    images, ready = sections(1), pipeline(SHAPES, tile_overlap=0)
    wanted = ~right_half_hidden(images)
    ready.fill_unit(images / 255, ~wanted, wanted=wanted)
    assert sum(ready.model.seen_batches) == 3 * 2  # type: ignore[arg-type, union-attr]


def test_an_overlap_of_more_than_half_a_tile_is_refused() -> None:
    with pytest.raises(ConfigError, match="The tile overlap is 5 pixels; tiles of 8 x 12 allow 0 to 4"):
        pipeline(SHAPES, tile_overlap=5)


def masked_sampler() -> Sampler:
    """As `sampler`, with a prior that draws in any order."""
    model = pipeline(SHAPES)
    prior = small_prior("masked", code_spec(model.tokenizer, ("observed",)))
    return Sampler(prior, model, Path("runs/prior/model.safetensors"))


def answers(prior: str, count: int = 3, **settings: Any) -> Completions:
    images = sections(2)
    return SAMPLERS[prior]().complete(images, right_half_hidden(images), count, **settings)


SAMPLERS: dict[str, Callable[[], Sampler]] = {"raster": lambda: sampler("observed"), "masked": masked_sampler}


@pytest.mark.parametrize("prior", SAMPLERS)
def test_answers_to_large_images_keep_what_is_observed_and_differ(prior: str) -> None:
    images, drawn = sections(2), answers(prior)
    known = right_half_hidden(images)
    assert drawn.images.shape == (2, 3, 3, 20, 28) and drawn.images.dtype == torch.uint8 and drawn.codes == ()
    assert torch.equal(drawn.images[known[:, None].expand(drawn.images.shape)].view(2, 3, -1)[:, 0], images[known].view(2, -1))
    assert not torch.equal(drawn.images[:, 0], drawn.images[:, 1])
    likeliest = answers(prior, rank="likelihood")
    assert bool((drawn.expected_error.diff(dim=1) >= 0).all()) and bool((likeliest.nll.diff(dim=1) >= 0).all())
    assert torch.equal(likeliest.nll, drawn.nll.sort(dim=1).values) and bool((drawn.uncertainty[known] == 0).all())
    assert set(drawn.images.unique().tolist()) == {0, 255} and int((drawn.images > 0).sum(dim=2).max()) == 1


@pytest.mark.parametrize(
    ("prior", "other"),
    [
        ("raster", {"batch_size": 1}),
        ("raster", {"batch_size": 4}),
        ("raster", {"sampling": Sampling(method="naive")}),
        ("masked", {"batch_size": 1}),
        ("masked", {"batch_size": 4}),
    ],
)
def test_an_answer_depends_on_seed_and_number_only(prior: str, other: dict[str, Any]) -> None:
    drawn, again = answers(prior), answers(prior, **other)
    assert torch.equal(drawn.images, again.images)
    torch.testing.assert_close(drawn.nll, again.nll)
    images = sections(2)
    second = SAMPLERS[prior]().complete(images[1:], right_half_hidden(images[1:]), 3, first=1)
    assert torch.equal(second.images[0], drawn.images[1])
    assert not torch.equal(answers(prior, sampling=Sampling(seed=1)).images, drawn.images)


@pytest.mark.parametrize("prior", SAMPLERS)
def test_progress_of_large_images_adds_up_to_the_answers(prior: str) -> None:
    told: list[float] = []
    answers(prior, advance=told.append)
    assert sum(told) == pytest.approx(6) and len(told) >= 6


@pytest.mark.parametrize("prior", SAMPLERS)
@pytest.mark.parametrize(("height", "width"), [(5, 7), (8, 30), (3, 12), (21, 13)])
def test_images_of_odd_sizes_are_filled_wherever_something_is_missing(prior: str, height: int, width: int) -> None:
    """Every tile is decoded to one value, which every missing pixel must have after blending."""
    ready = SAMPLERS[prior]()
    images = torch.zeros(1, 3, height, width, dtype=torch.uint8)
    observed = torch.zeros_like(images, dtype=torch.bool)
    observed[..., ::5] = True
    filled: list[Tensor] = []

    def finish(expected: Tensor, given: Tensor, known: Tensor) -> Tensor:
        filled.append(expected)
        return fill_stored(expected, given, known, ready.spec)

    ready._finish = finish  # type: ignore[method-assign]
    ready._decode = lambda codes, rows, context=None: torch.full((len(rows), 3, 8, 12), 0.25)  # type: ignore[method-assign]
    ready.complete(images, observed, 2)
    whole = [each for each in filled if len(each) == 2][-1]  # not of the one pass that the answers are compared with
    torch.testing.assert_close(whole[~observed.expand(2, -1, -1, -1)], torch.full((2 * int((~observed).sum()),), 0.25))


def test_an_image_of_one_tile_is_answered_as_before_and_a_larger_one_with_the_same_first_tile() -> None:
    """The noise of the first tile is that of an image of one tile."""
    spec = dataclasses.replace(SHAPES, exclusive=False)
    images = sections(1)
    observed = torch.zeros_like(images, dtype=torch.bool)
    observed[..., :2] = True
    tiled = sampler("observed", spec=spec)
    tiled.pipeline.tile_overlap = 0
    whole = tiled.complete(images, observed, 1)
    first = sampler("observed", spec=spec).complete(images[..., :8, :12], observed[..., :8, :12], 1)
    assert torch.equal(whole.images[..., :8, :12], first.images) and len(first.codes) == 1


def test_tiles_with_the_same_surroundings_get_different_answers() -> None:
    tile = sections(1)[..., :8, :12]
    images = torch.cat([tile, tile], dim=3)
    observed = torch.zeros_like(images, dtype=torch.bool)
    observed[:, 0] = True
    ready = sampler("observed", spec=dataclasses.replace(SHAPES, exclusive=False))
    ready.pipeline.tile_overlap = 0
    drawn = ready.complete(images, observed, 1).images[0, 0]
    assert not torch.equal(drawn[..., :12], drawn[..., 12:])


def test_wide_values_are_drawn_too() -> None:
    images = (torch.rand(1, 4, 12, 20, generator=torch.Generator().manual_seed(0)) * 4095).to(torch.uint16)
    observed = torch.ones(images.shape, dtype=torch.bool)
    observed[:, 1:] = False
    drawn = sampler("observed", spec=WIDE_STAINS).complete(images, observed, 2)
    assert drawn.images.dtype == torch.uint16 and torch.equal(drawn.images[0, 1, 0], images[0, 0])
    assert int(drawn.images[:, :, 1:].to(torch.int64).max()) > 255


def test_an_image_of_other_components_is_refused() -> None:
    with pytest.raises(DataError, match="2 x 20 x 28"):
        sampler("observed").complete(sections(1)[:, :2], torch.ones(1, 2, 20, 28, dtype=torch.bool), 1)
