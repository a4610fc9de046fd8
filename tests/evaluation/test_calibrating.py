"""What is fitted to completions: errors of a known size, known probabilities, and images of the validation split alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from painting import COLOUR, SHAPES, Counting, pipeline
from vqkit.config import NamedOptions
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import shuffled_indices
from vqkit.errors import ConfigError
from vqkit.evaluation import calibrating
from vqkit.evaluation.calibrating import DrawnPixels, climb, fit_calibration, fit_component, relative_score
from vqkit.evaluation.completion_quality import Sources
from vqkit.evaluation.ensemble_scores import bernoulli_coverage, coverage, ranks
from vqkit.evaluation.mask_scenarios import mask_scenarios
from vqkit.evaluation.prior import evaluate_prior
from vqkit.evaluation.progress import no_progress
from vqkit.evaluation.requests import PriorEvaluationRequest
from vqkit.evaluation.uncertainty import calibrated_terms, component_uncertainty, uncertainty_terms
from vqkit.inference.calibration import Calibration, ComponentCalibration, with_noise
from vqkit.inference.conditioning import code_spec
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import DataSpec
from vqkit.interfaces.priors import Sampling

TYRES = NamedOptions(name="tyre", num_train=20, num_val=6, num_test=5)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def intensities(error: float, pixels: int, seed: int) -> DrawnPixels:
    """Sixteen answers like the truth, but for a normal error of a deviation that no answer has."""
    levels = torch.rand(pixels, generator=generator(seed))
    drawn = levels + 0.1 * torch.randn(17, pixels, generator=generator(seed + 1))
    return DrawnPixels(drawn[:16], with_noise(drawn[16], error, generator(seed + 2)))


@pytest.mark.parametrize("error", [0.05, 0.1, 0.3])
def test_the_error_of_a_decoder_is_found_and_then_answers_cover_what_they_should(error: float) -> None:
    fitted = fit_component(False, intensities(error, 20_000, 0)).calibration
    assert fitted.deviation == pytest.approx(error, abs=0.015)
    fresh = intensities(error, 20_000, 10)
    covered = coverage(ranks(with_noise(fresh.answers, fitted.deviation, generator(20)), fresh.truth))
    assert float(covered.mean()) == pytest.approx(0.9, abs=0.01)
    assert float(coverage(ranks(*fresh)).mean()) < float(covered.mean()) - 0.005


def test_answers_that_differ_enough_get_no_noise() -> None:
    drawn = intensities(0.0, 5000, 0)
    assert (
        fit_component(False, DrawnPixels(drawn.answers * 3 - drawn.answers.mean(dim=0) * 2, drawn.truth)).calibration.deviation == 0
    )


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.6, 0.3), (1.7, -0.5)])
def test_probabilities_of_shapes_are_found(slope: float, intercept: float) -> None:
    actual = ComponentCalibration(slope=slope, intercept=intercept)

    def drawn(seed: int) -> DrawnPixels:
        number_set = torch.randint(17, (100_000,), generator=generator(seed))
        answers = (torch.arange(16)[:, None] < number_set).float()
        chance = actual.probability(number_set, 16)
        return DrawnPixels(answers, (torch.rand(100_000, generator=generator(seed + 1)) < chance).float())

    fitted = fit_component(True, drawn(0)).calibration
    assert (fitted.slope, fitted.intercept) == pytest.approx((slope, intercept), abs=0.03)
    fresh = drawn(10)
    covered = bernoulli_coverage(fitted.probability(fresh.answers.sum(dim=0).long(), 16), fresh.truth > 0)
    assert float(covered.mean()) == pytest.approx(0.9, abs=0.005)


def test_answers_that_are_always_right_are_still_not_taken_for_certain() -> None:
    truth = (torch.arange(1000) % 2).float()
    fitted = fit_component(True, DrawnPixels(truth.expand(8, -1), truth)).calibration
    assert 1 < fitted.slope < 10 and abs(fitted.intercept) < 1e-6
    assert 0 < float(fitted.probability(torch.tensor(0), 8)) < 0.01


def test_components_count_alike_whatever_the_size_of_their_scores() -> None:
    assert relative_score([1.5, 50.0], [1.0, 100.0]) == pytest.approx(math.sqrt(0.75))
    assert relative_score([0.0, 2.0], [0.0, 1.0]) == pytest.approx(2) and relative_score([0.0], [0.0]) == 1


@pytest.mark.parametrize("best", range(7))
def test_temperatures_are_tried_from_the_first_one_on_until_they_become_worse(best: int) -> None:
    tried: set[int] = set()

    def score(one: int, other: int) -> float:
        tried.update((one, other))
        return (1 + abs(one - best)) / (1 + abs(other - best))

    assert climb(score, 4, 7) == best
    assert tried == set(range(max(0, best - 1), 5) if best < 4 else range(3, min(7, best + 2)))


@pytest.mark.parametrize("spec", [SHAPES, COLOUR], ids=lambda spec: spec.value_kind)
def test_calibrated_figures_are_those_of_every_pixel(spec: DataSpec) -> None:
    shape = (2, 5, 3, spec.height, spec.width)
    values = torch.rand(shape, generator=generator(0))
    answers = (values > 0.5).float() if spec.value_kind == "binary" else values
    truth, judged = answers.flip(1)[:, 0], torch.rand(2, *shape[2:], generator=generator(1)) > 0.5
    fitted = ComponentCalibration(0.2, 0.7, 0.1)
    found = calibration({spec.components[1]: fitted})
    noise = [generator(3), generator(4)]
    calibrated = calibrated_terms(answers, truth, judged, found, noise, spec)
    terms = uncertainty_terms(answers, truth, truth, judged)._replace(**calibrated._asdict())
    figures = component_uncertainty(terms, spec)[spec.components[1]]
    where = judged[:, 1]
    if spec.value_kind == "binary":
        number_set = answers[:, :, 1].sum(dim=1)[where].long()
        chance = fitted.probability(number_set, 5)
        expected = (chance - truth[:, 1][where]).square()
        assert figures.calibrated_crps == pytest.approx(float(expected.mean()))
        assert figures.calibrated_coverage == pytest.approx(float(bernoulli_coverage(chance, truth[:, 1][where] > 0).mean()))
        some = (number_set > 0) & (number_set < 5)
        assert figures.contested_coverage == pytest.approx(float(bernoulli_coverage(chance, truth[:, 1][where] > 0)[some].mean()))
    else:
        assert figures.calibrated_coverage != figures.coverage
        assert figures.crps != figures.calibrated_crps
        again = calibrated_terms(answers, truth, judged, found, [generator(3), generator(4)], spec)
        assert torch.equal(again.calibrated_crps, calibrated.calibrated_crps) and figures.contested_coverage is None
    if spec.value_kind == "intensity":
        unchanged = component_uncertainty(terms, spec)[spec.components[2]]
        assert unchanged.calibrated_crps == pytest.approx(unchanged.crps)


def calibration(components: dict[str, ComponentCalibration], temperature: float = 1.2) -> Calibration:
    return Calibration("p" * 64, "t" * 64, 3, 5, 0.9, ("keep some",), temperature, components)


def tyre_sampler(path: Path, sharpness: float = 0.1) -> Sampler:
    pipe = pipeline(open_dataset(TYRES).spec)
    return Sampler(
        Counting(code_spec(pipe.tokenizer, ["observed"]), sharpness).eval(), pipe, path / "model.safetensors", data=TYRES
    )


REQUEST = PriorEvaluationRequest(num_samples=0, completions=2, keep_sets=[["bt"]], calibrate=True, limit=4)


def test_only_validation_images_are_fitted_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sources] = []

    def note(sampler: Sampler, scenarios: object, sources: Sources, *others: Any) -> Calibration:
        seen.append(sources)
        return calibration({})

    monkeypatch.setattr("vqkit.evaluation.prior.fit_calibration", note)
    evaluate_prior(tyre_sampler(tmp_path), REQUEST)
    validation = open_dataset(TYRES).split("val")
    assert torch.equal(seen[0].batch.images, validation.batch(shuffled_indices(6, 4)).images)
    assert not any(
        torch.equal(seen[0].batch.images[0], image) for image in open_dataset(TYRES).split("test").batch(torch.arange(5)).images
    )


def test_what_is_fitted_does_not_depend_on_the_images_that_are_measured(tmp_path: Path) -> None:
    fitted = [evaluate_prior(tyre_sampler(tmp_path), replace(REQUEST, data=replace_tests(count))).calibration for count in (1, 5)]
    assert fitted[0] == fitted[1] and fitted[0] is not None and fitted[0].images == 4


def replace_tests(count: int) -> NamedOptions:
    return TYRES.model_copy(update={"num_test": count})


def test_it_is_written_beside_the_prior_and_used_for_what_is_measured(tmp_path: Path) -> None:
    prior = tyre_sampler(tmp_path)
    result = evaluate_prior(prior, REQUEST)
    assert (tmp_path / "calibration.json").is_file() and prior.calibration == result.calibration
    assert result.calibration is not None
    assert result.completion_sampling == Sampling(temperature=result.calibration.temperature) and result.sampling == Sampling()
    assert all(each.calibrated_coverage is not None for each in result.completions[0].uncertainty.values())
    again = evaluate_prior(prior, replace(REQUEST, calibrate=False))
    assert again.completions == result.completions
    plain = evaluate_prior(prior, replace(REQUEST, calibrate=False, sampling=Sampling(temperature=0.3), fitted_temperature=False))
    assert plain.completion_sampling == Sampling(temperature=0.3)
    assert all(each.calibrated_coverage is None for each in plain.completions[0].uncertainty.values())


def test_the_best_of_the_temperatures_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The truth is drawn at one of them: then answers at that one are like it."""
    monkeypatch.setattr(calibrating, "TEMPERATURES", (0.2, 1.0, 5.0))
    spec = open_dataset(TYRES).spec
    prior = tyre_sampler(Path("nowhere"), sharpness=0.5)
    images = open_dataset(TYRES).split("val").batch(torch.arange(6))
    scenario = mask_scenarios(spec, [["bt"]])[1]
    observed = scenario.observed(torch.arange(6), images.images.shape)
    for temperature in (0.2, 1.0, 5.0):
        truth = prior.complete(images.images, observed, 1, sampling=Sampling(temperature=temperature, seed=9)).images[:, 0]
        unknown = spec.unknown_conditions(6)
        sources = Sources(images._replace(images=truth, conditions=unknown), torch.arange(6))
        found = fit_calibration(prior, [scenario], sources, 8, Sampling(), no_progress)
        assert found.temperature == temperature
        assert set(found.components) == set(spec.components) - {"bt"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "val"}, "cannot be measured on them"),
        ({"completions": 1}, "have no spread"),
        ({"sampling": Sampling(top_p=0.9)}, "plain sampling"),
        ({"sampling": Sampling(temperature=0.9)}, "plain sampling"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(REQUEST, **settings)


def test_a_prior_that_completes_nothing_is_not_calibrated(tmp_path: Path) -> None:
    pipe = pipeline(open_dataset(TYRES).spec)
    prior = Sampler(Counting(code_spec(pipe.tokenizer, [])).eval(), pipe, tmp_path / "model.safetensors", data=TYRES)
    with pytest.raises(ConfigError, match="not trained to complete"):
        evaluate_prior(prior, replace(REQUEST, keep_sets=None))
