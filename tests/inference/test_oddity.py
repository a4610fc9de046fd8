"""What images cost and lose, place by place, against plain loops; what is absent does not count."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from painting import FIELDS, SHAPES, pipeline, sampler, sections
from small_priors import small_prior
from vqkit.inference.conditioning import code_spec
from vqkit.inference.oddity import SIGNALS, Oddity, enlarged, measure_oddity, places_of, spread
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Conditioning
from vqkit.priors.left_out import left_out_nll

UNIT = SHAPES.to_unit(sections(4))
WHOLE = torch.ones_like(UNIT, dtype=torch.bool)


def masked_sampler() -> Sampler:
    model = pipeline(SHAPES)
    prior = small_prior("masked", code_spec(model.tokenizer, ()))
    return Sampler(prior, model, Path("runs/prior/model.safetensors"))


def test_costs_are_those_of_the_prior_told_nothing() -> None:
    ready = sampler("metadata")
    found = measure_oddity(ready, UNIT, WHOLE)
    codes = ready.pipeline.encode_unit(UNIT, WHOLE)
    assert torch.allclose(found.bits, torch.full((4, 2, 3), 4.0))  # any of 16 codes is as likely
    assert torch.equal(found.surprise, found.bits)
    expected = ready.pipeline.decode_unit(codes)
    torch.testing.assert_close(found.errors, (expected - UNIT).square())
    signals = found.signals()
    assert list(signals) == list(SIGNALS)
    torch.testing.assert_close(signals["error"], (expected - UNIT).square().double().mean(dim=(1, 2, 3)))
    torch.testing.assert_close(found.total_bits, torch.full((4,), 24.0, dtype=torch.float64))
    torch.testing.assert_close(signals["bits"], torch.full((4,), 4.0, dtype=torch.float64))


def test_a_prior_in_any_order_also_gives_the_cost_given_all_others() -> None:
    ready = masked_sampler()
    found, codes = measure_oddity(ready, UNIT, WHOLE), ready.pipeline.encode_unit(UNIT, WHOLE)
    given = Conditioning.unconditional(4, ready.prior.spec)
    with torch.no_grad():
        torch.testing.assert_close(found.bits, ready.prior.nll(codes, given)[0] / math.log(2))
        torch.testing.assert_close(found.surprise, left_out_nll(ready.prior, codes, given)[0] / math.log(2))
    assert not torch.equal(found.bits, found.surprise)


@pytest.mark.parametrize("ready", [sampler("observed"), masked_sampler()], ids=["observed", "masked"])
def test_absent_pixels_do_not_count_whatever_they_hold(ready: Sampler) -> None:
    present = WHOLE.clone()
    present[:, :, :4, :4] = False  # the place of the first code
    present[:, 1, 5:, 6:] = False
    zeros, garbage = UNIT.where(present, 0.0), UNIT.where(present, torch.nan)
    one, two = (measure_oddity(ready, images, present) for images in (zeros, garbage))
    for name, values in one.signals().items():
        assert torch.equal(values, two.signals()[name]) and bool(values.isfinite().all())
    assert not bool(one.places[:, 0, 0].any()) and bool(one.places.flatten(1)[:, 1:].all())
    assert bool((one.bits[:, 0, 0] == 0).all()) and bool((one.errors[~present] == 0).all())
    expected = one.bits.double().flatten(1)[:, 1:].mean(dim=1)
    torch.testing.assert_close(one.signals()["bits"], expected)
    squares = (one.reconstructions - zeros).square().double()
    for number in range(4):
        assert float(one.signals()["error"][number]) == pytest.approx(float(squares[number][present[number]].mean()))


def test_an_image_without_data_has_no_scores() -> None:
    present = WHOLE.clone()
    present[1] = False
    for values in measure_oddity(sampler(), UNIT, present).signals().values():
        assert values.isnan().tolist() == [False, True, False, False]


def oddity(surprise: Tensor, places: Tensor) -> Oddity:
    """What was measured where only the surprise matters."""
    nothing, present = torch.zeros(len(surprise), 1, 4, 4), torch.ones(len(surprise), 1, 4, 4, dtype=torch.bool)
    return Oddity(surprise, surprise, nothing, nothing, places, present)


def test_the_peak_is_the_highest_mean_of_nine_places() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(5, 6, 4, generator=generator) < 0.7
    surprise = torch.rand(5, 6, 4, generator=generator) * places
    found = oddity(surprise, places).signals()["peak"]
    for image in range(5):
        means = []
        for row in range(4):
            for column in range(2):
                inside = image, slice(row, row + 3), slice(column, column + 3)
                if places[inside].sum() >= 5:
                    means.append(float(surprise[inside][places[inside]].double().mean()))
        assert float(found[image]) == pytest.approx(max(means))


def test_the_peak_of_few_places_and_of_small_grids() -> None:
    places = torch.zeros(1, 5, 5, dtype=torch.bool)
    places[0, 2, 2] = places[0, 2, 3] = True
    surprise = torch.zeros(1, 5, 5)
    surprise[0, 2, 2:4] = torch.tensor([3.0, 5.0])
    assert float(oddity(surprise, places).signals()["peak"]) == 4  # there is no square of which half counts
    assert float(oddity(torch.tensor([[[2.0, 4.0]]]), torch.ones(1, 1, 2, dtype=torch.bool)).signals()["peak"]) == 3


def test_coarser_codes_are_spread_over_the_places_that_they_stand_for() -> None:
    coarse, fine = torch.rand(2, 2, 1), torch.rand(2, 4, 3)
    every = tuple(torch.ones_like(each, dtype=torch.bool) for each in (coarse, fine))
    found = spread((coarse, fine), every, (4, 3))
    for row in range(4):
        for column in range(3):
            expected = (coarse[:, row // 2, 0] / 6 + fine[:, row, column]) / math.log(2)
            torch.testing.assert_close(found[:, row, column], expected)
    counted = every[0].clone()
    counted[:, 0] = False
    without = spread((coarse, fine), (counted, every[1]), (4, 3))
    torch.testing.assert_close(without[:, :2], fine[:, :2] / math.log(2))
    torch.testing.assert_close(without[:, 2:], found[:, 2:])


def test_places_and_pixels_of_each_other() -> None:
    present = torch.zeros(1, 3, 16, 12, dtype=torch.bool)
    present[0, 2, 5, 11] = True
    places = places_of(present, (4, 3))
    assert places.nonzero().tolist() == [[0, 1, 2]]
    pixels = enlarged(places, FIELDS)
    assert pixels.shape == (1, 16, 12) and bool(pixels[0, 4:8, 8:].all()) and int(pixels.sum()) == 16
