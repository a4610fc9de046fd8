"""Figures of completions against plain loops over images, completions and pairs of them."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from painting import COLOUR, SHAPES, Counting, pipeline, sections
from vqkit.evaluation.completion_quality import (
    IMAGES_AT_ONCE,
    Sources,
    compare_completions,
    completion_metrics,
    measure_completions,
)
from vqkit.evaluation.mask_scenarios import MaskScenario, mask_scenarios
from vqkit.evaluation.progress import no_progress
from vqkit.inference.conditioning import code_spec
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Batch
from vqkit.interfaces.priors import Sampling

FIRST = torch.zeros(2, dtype=torch.int64)


def iou(first: Tensor, second: Tensor) -> float:
    either = int((first | second).sum())
    return int((first & second).sum()) / either if either else 1.0


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape)))


def keeping(*positions: int) -> MaskScenario:
    return MaskScenario("keep some", positions)


def test_shapes_are_judged_where_they_were_missing() -> None:
    images, answers = sections(4) / 255, sections(4 * 3, seed=1).unflatten(0, (4, 3)) / 255
    one_pass = sections(4, seed=2) / 255
    observed = torch.zeros(4, 3, 8, 12, dtype=torch.bool)
    observed[:, 0] = True
    observed[:, :, :3] = True
    judged = compare_completions(answers, one_pass, images, ~observed, FIRST, SHAPES)
    assert bool(judged.completions[..., 0].isnan().all())
    for image in range(4):
        for component in (1, 2):
            truth, given = images[image, component, 3:] > 0, answers[image, :, component, 3:] > 0
            expected = [iou(answer, truth) for answer in given]
            assert judged.completions[image, :, component].tolist() == pytest.approx(expected)
            assert float(judged.one_pass[image, component]) == pytest.approx(iou(one_pass[image, component, 3:] > 0, truth))
            apart = [1 - iou(first, second) for first, second in combinations(given, 2)]
            assert float(judged.diversity[image, component]) == pytest.approx(sum(apart) / 3)


def test_intensities_are_judged_in_decibels() -> None:
    images, answers, one_pass = noise(2, 3, 8, 8), noise(2, 4, 3, 8, 8), noise(2, 3, 8, 8).flip(0)
    observed = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    observed[:, :, :, :5] = True
    judged = compare_completions(answers, one_pass, images, ~observed, FIRST, COLOUR)
    for image in range(2):
        for component in range(3):
            inside = answers[image, :, component, :, 5:].double()
            truth = images[image, component, :, 5:].double()
            expected = [-10 * math.log10(float((answer - truth).square().mean())) for answer in inside]
            assert judged.completions[image, :, component].tolist() == pytest.approx(expected)
            apart = [float((first - second).square().mean()) for first, second in combinations(inside, 2)]
            assert float(judged.diversity[image, component]) == pytest.approx(sum(apart) / 6)


def test_equal_completions_are_not_diverse_and_empty_shapes_agree() -> None:
    images = sections(2) / 255
    answers = torch.zeros(2, 3, 3, 8, 12)
    answers[:, :, 1] = 1
    judged = torch.ones(2, 3, 8, 12, dtype=torch.bool)
    assert compare_completions(answers, images, images, judged, FIRST, SHAPES).diversity.tolist() == [[0, 0, 0]] * 2


def test_the_best_of_each_component_and_the_best_of_all_together() -> None:
    images = sections(2) / 255
    judged = compare_completions(images[:, None], images, images, torch.ones(2, 3, 8, 12, dtype=torch.bool), FIRST, SHAPES)
    values = torch.tensor([[[0.9, 0.1, 0.0], [0.5, 0.6, 0.0]], [[0.4, 0.2, 0.0], [0.2, 0.8, 0.0]]]).double()
    values[..., 2] = torch.nan
    judged = judged._replace(completions=values, one_pass=values[:, 1], consensus=torch.tensor([1, 0]))
    result = completion_metrics(keeping(2), judged, None, SHAPES)
    assert result.consensus.components == pytest.approx({"carcass": 0.45, "belt": 0.4})
    assert result.best_per_component.components == pytest.approx({"carcass": 0.65, "belt": 0.7})
    assert result.best_per_component.mean == pytest.approx(0.675)
    assert result.best_of_k.components == pytest.approx({"carcass": 0.35, "belt": 0.7})
    assert result.most_likely.components == pytest.approx({"carcass": 0.65, "belt": 0.15})
    assert result.mean.components == pytest.approx({"carcass": 0.5, "belt": 0.425})
    assert result.one_pass.components == pytest.approx({"carcass": 0.35, "belt": 0.7})
    assert (result.keep, result.missing, result.metric) == (("tread",), ("carcass", "belt"), "iou")


def sampler(sharpness: float, *kinds: str) -> Sampler:
    pipe = pipeline(SHAPES)
    return Sampler(Counting(code_spec(pipe.tokenizer, kinds), sharpness).eval(), pipe, Path("runs/prior/model.safetensors"))


def sources(count: int, conditions: Tensor | None = None) -> Sources:
    known = torch.full((count, 1), torch.nan) if conditions is None else conditions
    return Sources(Batch(sections(count), known, torch.full((count,), -1)), torch.arange(count))


def test_a_prior_that_is_sure_gives_what_its_tokenizer_gives() -> None:
    scenario = mask_scenarios(SHAPES, [["carcass"]])[1]
    result = measure_completions(sampler(50.0, "observed"), scenario, sources(3), 4, Sampling(), no_progress)
    assert (result.images, result.samples, result.name) == (3, 4, "keep carcass")
    assert result.best_per_component == result.mean == result.most_likely == result.best_of_k == result.one_pass
    assert result.diversity is not None
    assert result.diversity.mean == 0


def test_consensus_is_measured_on_the_answer_that_is_written_first() -> None:
    scenario, images = mask_scenarios(SHAPES, [["carcass"]])[1], sources(3)
    prior = sampler(0.05, "observed")
    result = measure_completions(prior, scenario, images, 5, Sampling(), no_progress)
    observed = scenario.observed(images.positions, images.batch.images.shape)
    written = prior.complete(images.batch.images, observed, 5, rank="consensus").images[:, 0] > 0
    for component in (1, 2):
        expected = [
            iou(answer[component], truth[component] > 0) for answer, truth in zip(written, images.batch.images, strict=True)
        ]
        assert result.consensus.components[SHAPES.components[component]] == pytest.approx(sum(expected) / 3)
    assert result.consensus != result.most_likely


def test_a_prior_that_is_not_sure_gives_several_answers() -> None:
    scenario = mask_scenarios(SHAPES, [["carcass"]])[1]
    result = measure_completions(sampler(0.05, "observed"), scenario, sources(3), 4, Sampling(), no_progress)
    assert result.diversity is not None
    assert result.diversity.mean > 0.1
    assert result.best_per_component.mean >= result.best_of_k.mean > result.mean.mean
    single = measure_completions(sampler(0.05, "observed"), scenario, sources(3), 1, Sampling(), no_progress)
    assert single.diversity is None
    assert single.best_per_component == single.mean == single.most_likely == single.consensus


def test_images_are_completed_alike_whatever_is_done_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = mask_scenarios(SHAPES, None, "boxes")[-1]
    prior = sampler(0.05, "observed")
    together = measure_completions(prior, scenario, sources(5), 3, Sampling(), no_progress)
    assert IMAGES_AT_ONCE > 5
    monkeypatch.setattr("vqkit.evaluation.completion_quality.IMAGES_AT_ONCE", 2)
    assert measure_completions(prior, scenario, sources(5), 3, Sampling(), no_progress) == together


def test_masks_are_those_of_the_images_positions_in_their_split() -> None:
    scenario = mask_scenarios(SHAPES, [], "boxes")[-1]
    prior, images = sampler(0.05, "observed"), sources(5)
    moved = images._replace(positions=images.positions + 100)
    first, second = (measure_completions(prior, scenario, each, 2, Sampling(), no_progress) for each in (images, moved))
    assert first != second
    observed = scenario.observed(moved.positions, images.batch.images.shape)
    assert not torch.equal(observed, scenario.observed(images.positions, images.batch.images.shape))


def test_known_conditions_reach_only_a_prior_that_was_trained_with_them() -> None:
    scenario = mask_scenarios(SHAPES, [["carcass"]])[1]
    conditioned = sources(2, torch.tensor([[80.0], [90.0]]))
    knows = measure_completions(sampler(50.0, "observed", "metadata"), scenario, conditioned, 2, Sampling(), no_progress)
    # The decoder paints everything 0.8 or 0.9: the first component that is missing claims all that the kept one leaves.
    truth = sections(2) > 0
    expected = [iou(~image[0], image[1]) for image in truth]
    assert knows.most_likely.components["belt"] == pytest.approx(sum(expected) / 2)
    ignores = measure_completions(sampler(50.0, "observed"), scenario, conditioned, 2, Sampling(), no_progress)
    assert ignores == measure_completions(sampler(50.0, "observed"), scenario, sources(2), 2, Sampling(), no_progress)
