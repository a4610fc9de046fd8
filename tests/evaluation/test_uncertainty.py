"""Figures of the spread of completions against plain loops over pixels, and for completions like the truth."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch
from torch import Tensor

from painting import COLOUR, SHAPES
from vqkit.evaluation.ensemble_scores import coverage, fair_crps, ranks
from vqkit.evaluation.uncertainty import component_uncertainty, uncertainty_terms
from vqkit.interfaces import DataSpec

GENERATOR = torch.Generator().manual_seed(5)


def drawn(spec: DataSpec, count: int, images: int, coarse: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Answers, a reconstruction and a truth that are all alike, of a few different values, and where they are judged."""
    levels = torch.rand(images, 1, len(spec.components), spec.height, spec.width, generator=GENERATOR)
    noise = torch.rand(images, count + 2, *levels.shape[2:], generator=GENERATOR)
    values = (noise < levels).float() if spec.value_kind == "binary" else (noise + levels).mul(coarse).round() / coarse
    judged = torch.rand(images, *levels.shape[2:], generator=GENERATOR) > 0.5
    judged[:, 0] = False
    return values[:, :count], values[:, count], values[:, count + 1], judged


@pytest.mark.parametrize("spec", [SHAPES, COLOUR], ids=lambda spec: spec.value_kind)
def test_every_missing_pixel_counts_once(spec: DataSpec) -> None:
    answers, one_pass, truth, judged = drawn(spec, 4, 3, 7)
    judged[2, 1] = False
    found = component_uncertainty(uncertainty_terms(answers, one_pass, truth, judged), spec)
    assert list(found) == list(spec.components[1:])
    for component, name in ((1, spec.components[1]), (2, spec.components[2])):
        crps, errors, covered, means, histogram = [], [], [], [], torch.zeros(5, dtype=torch.float64)
        for image in range(3):
            where = judged[image, component]
            x, y = answers[image, :, component, where], truth[image, component, where]
            crps += fair_crps(x, y).tolist()
            errors += (one_pass[image, component, where] - y).abs().tolist()
            covered += coverage(ranks(x, y)).tolist()
            for below, equal in zip(*ranks(x, y)[:2], strict=True):
                histogram[below : below + equal + 1] += 1 / (float(equal) + 1)
            if bool(where.any()):
                means.append(float(coverage(ranks(x.double().sum(dim=1), y.double().sum()))))
        of = found[name]
        assert of.pixels == len(crps) == int(judged[:, component].sum())
        assert of.crps == pytest.approx(sum(crps) / len(crps))
        assert of.one_pass_error == pytest.approx(sum(errors) / len(errors))
        assert of.coverage == pytest.approx(sum(covered) / len(covered))
        assert of.mean_coverage == pytest.approx(sum(means) / len(means))
        assert of.ranks == pytest.approx((histogram / len(crps)).tolist())
    assert json.loads(json.dumps({name: asdict(each) for name, each in found.items()}, allow_nan=False))


@pytest.mark.parametrize("spec", [SHAPES, COLOUR], ids=lambda spec: spec.value_kind)
def test_completions_like_the_truth_are_calibrated(spec: DataSpec) -> None:
    answers, one_pass, truth, judged = drawn(spec, 16, 300, 20)
    for each in component_uncertainty(uncertainty_terms(answers, one_pass, truth, judged), spec).values():
        assert each.coverage == pytest.approx(0.9, abs=0.01)
        assert each.mean_coverage == pytest.approx(0.9, abs=0.05)
        assert each.ranks == pytest.approx([1 / 17] * 17, abs=0.01)
        assert each.crps < each.one_pass_error


def test_reliability_is_the_share_that_is_set_among_the_pixels_that_some_answers_set() -> None:
    answers, one_pass, truth, judged = drawn(SHAPES, 3, 2, 1)
    found = component_uncertainty(uncertainty_terms(answers, one_pass, truth, judged), SHAPES)["belt"].reliability
    assert found is not None
    where = judged[:, 1]
    number, actual = answers[:, :, 1].sum(dim=1)[where], truth[:, 1][where]
    error = 0.0
    for count in range(4):
        some = actual[number == count]
        assert found.many[count] == len(some) and found.share[count] == pytest.approx(float(some.mean()))
        error += len(some) * abs(count / 3 - float(some.mean()))
    assert found.error == pytest.approx(error / len(actual))
    nothing_set = component_uncertainty(uncertainty_terms(answers * 0, one_pass, truth, judged), SHAPES)["belt"].reliability
    assert nothing_set is not None
    assert nothing_set.many == (len(actual), 0, 0, 0) and nothing_set.share[1:] == (None, None, None)


def test_intensities_have_no_reliability() -> None:
    found = component_uncertainty(uncertainty_terms(*drawn(COLOUR, 3, 2, 9)), COLOUR)
    assert all(each.reliability is None for each in found.values())
