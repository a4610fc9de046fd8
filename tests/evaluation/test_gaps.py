"""Evaluation of images with gaps, of several kinds and units of values, against plain loops over what is present."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor

from painting import FIELDS, Blocks, Counting, pipeline
from vqkit.cli.model_tables import print_model
from vqkit.cli.prior_tables import print_prior
from vqkit.config import NamedOptions, Settings
from vqkit.core.randomness import generator_for
from vqkit.data.splits import ArraySplit
from vqkit.errors import DataError
from vqkit.evaluation import autoencoder, level_ablation
from vqkit.evaluation import prior as prior_evaluation
from vqkit.evaluation.autoencoder import Evaluation, evaluate
from vqkit.evaluation.bounds import measure_bounds
from vqkit.evaluation.code_rates import RateMeter, conditioning_cases
from vqkit.evaluation.codebook_usage import encode_images
from vqkit.evaluation.completion_quality import Sources, measure_completions
from vqkit.evaluation.mask_scenarios import MaskScenario, mask_scenarios
from vqkit.evaluation.metrics import similarity_map
from vqkit.evaluation.prior import PriorData, evaluate_prior
from vqkit.evaluation.progress import no_progress
from vqkit.evaluation.requests import EvaluationRequest, PriorEvaluationRequest
from vqkit.inference.conditioning import code_spec
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import Autoencoder, Batch, ComponentSpec, DataSpec, ImageDataset, Reconstruction, SplitName, fully_observed
from vqkit.interfaces.priors import Sampling
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded

CPU = torch.device("cpu")
HOLDS_RAIN = torch.tensor([0, 2, 6, 7, 8])
"""Positions of the `fields` that can be judged from the rain they have."""


class Shade(Autoencoder):
    """What it sees at 60 %, plus 0.2."""

    Options = Settings

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        return Reconstruction(0.6 * images * observed + 0.2, torch.zeros(()))

    def mean(self, logits: Tensor) -> Tensor:
        return logits


def fields(count: int = 9, garbage: int = 0) -> ArraySplit:
    """Images of `FIELDS` with `garbage` in their gaps: three lack rain, two lack heat, two a corner, and one everything."""
    drawn = torch.Generator().manual_seed(0)
    heat = torch.randint(900, 5200, (count, 16, 12), generator=drawn)
    forest = 255 * (torch.rand(count, 16, 12, generator=drawn) < 0.4).long()
    rain = torch.randint(0, 900, (count, 16, 12), generator=drawn)
    images, present = torch.stack([heat, forest, rain], dim=1), torch.ones(count, 3, 16, 12, dtype=torch.bool)
    present[[1, 4, 5], 2] = False
    present[[4, 7], 0] = False
    present[[0, 7], :, :5, :4] = False
    present[3] = False
    return ArraySplit(FIELDS, torch.where(present, images, garbage).to(torch.uint16), present=present)


def loaded(model: Autoencoder) -> Loaded:
    return Loaded(model.eval(), Path("runs/shade/model.safetensors"), "d" * 64, NamedOptions(name="tyre"), {"name": "shade"})


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> ArraySplit:
    """The images that `evaluate` measures on, whatever it is asked for."""
    images = fields()
    monkeypatch.setattr(autoencoder, "open_split", lambda *arguments: images)
    return images


def shaded(request: EvaluationRequest) -> Evaluation:
    return evaluate(loaded(Shade(Settings(), FIELDS)), request)


def truth(images: ArraySplit) -> Batch:
    return images.batch(torch.arange(len(images)))


def test_a_keep_set_is_tried_on_the_images_that_hold_it(measured: ArraySplit) -> None:
    result = shaded(EvaluationRequest(keep_sets=[["heat"], ["heat", "rain"], ["rain"]], batch_size=4))
    batch = truth(measured)
    assert batch.present is not None
    held = batch.present.flatten(2).any(2)
    assert result.images == 9
    assert result.full.images == 8, "nothing is present in one image"
    # Image 4 has no heat; 1 and 5 have no rain.
    assert [part.images for part in result.parts] == [6, 4, 5]
    for part, keep in zip(result.parts, ([0], [0, 2], [2]), strict=True):
        counted = [image for image in range(9) if all(held[image, kept] for kept in keep)]
        assert part.images == len(counted)
        for missing in set(range(3)) - set(keep):
            name, here = FIELDS.components[missing], [image for image in counted if held[image, missing]]
            assert part.components[name].images == len(here)
        unit = FIELDS.to_unit(batch.images)
        for missing in {0, 2} - set(keep):
            here = [image for image in counted if held[image, missing]]
            where = batch.present[here, missing]
            errors = (0.2 - unit[here, missing])[where].double()
            own = part.components[FIELDS.components[missing]]
            assert own.mse == pytest.approx(float(errors.square().mean()), rel=1e-6)
            written = 0.2 * (4000 if missing == 0 else 800) + (1000 if missing == 0 else 0)
            apart = (written - batch.images[here, missing].double())[where]
            assert own.rmse == pytest.approx(float(apart.square().mean().sqrt()), rel=1e-6)
            assert own.mae == pytest.approx(float(apart.abs().mean()), rel=1e-6)
            assert own.unit == ("K" if missing == 0 else "mm")
            # Windows reach into known pixels, which the output holds, and into absent ones, which are blank in both images.
            shown = torch.where(batch.present, unit, 0)
            filled = shown.clone()
            filled[:, missing] = torch.where(batch.present[:, missing], torch.tensor(0.2), 0)
            alike = similarity_map(filled, shown)
            each = [float(alike[image, missing][batch.present[image, missing]].double().mean()) for image in here]
            assert own.ssim == pytest.approx(sum(each) / len(each))


def test_full_input_is_judged_where_there_are_data(measured: ArraySplit) -> None:
    full = shaded(EvaluationRequest(keep_sets=[["heat"]])).full
    batch = truth(measured)
    assert batch.present is not None
    unit = torch.where(batch.present, FIELDS.to_unit(batch.images), 0)
    shown = torch.where(batch.present, 0.6 * unit + 0.2, 0)
    where = batch.present & torch.tensor([True, False, True])[:, None, None]
    errors = (shown - unit)[where].double()
    assert full.mse == pytest.approx(float(errors.square().mean()), rel=1e-6)
    similarity = similarity_map(shown, unit)
    alike = [float(similarity[image][where[image]].double().mean()) for image in range(9) if where[image].any()]
    assert full.ssim == pytest.approx(sum(alike) / len(alike))
    assert (full.iou, full.mean_iou) == ({"forest": 1.0}, 1.0), "0.2 and 0.8 are on the right sides of one half"
    heat = full.components["heat"]
    own = unit[:, 0][batch.present[:, 0]].double()
    assert heat.relative_error == pytest.approx(heat.mse / float(own.var(unbiased=False)))
    assert full.components["forest"].rmse is None


def test_what_lies_where_nothing_is_present_changes_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for garbage in (0, 65535, 77):
        monkeypatch.setattr(autoencoder, "open_split", lambda *arguments, garbage=garbage: fields(garbage=garbage))
        content = shaded(EvaluationRequest(mask_kind="boxes", batch_size=4)).to_json()
        del content["images_per_second"]
        found.append(json.dumps(content, allow_nan=False))
    assert found[0] == found[1] == found[2]


def printed(result: Evaluation) -> str:
    console = Console(file=io.StringIO(), width=240)
    print_model(console, result)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_the_table_has_units_and_counts(measured: ArraySplit) -> None:
    result = shaded(EvaluationRequest(keep_sets=[["heat"], ["heat", "forest"]]))
    text = printed(result)
    header = "input images MSE PSNR dB pooled dB SSIM MSE / variance RMSE MAE IoU Dice"
    assert header.split() == next(line for line in text.splitlines() if line.startswith("input")).split()
    rows = [line.split() for line in text.splitlines()]
    heat, rain = result.full.components["heat"], result.parts[1].components["rain"]
    assert ["heat", str(heat.images), f"{heat.mse:.5f}"] in [row[:3] for row in rows]
    assert f"{heat.rmse:.4g} K" in text
    (alone,) = (line for line in text.splitlines() if line.startswith("all but rain"))
    assert f"{rain.rmse:.4g} mm" in alone, "a single component needs no row of its own"
    forest = next(row for row in rows if row[:1] == ["forest"])
    assert forest[2:9] == ["-"] * 7, "a shape has an overlap and no decibels"


class Watched(Shade):
    """Refuses what is observed of an image where nothing is present."""

    absent: Tensor

    def forward(
        self,
        images: Tensor,
        observed: Tensor,
        conditions: Tensor,
        generator: torch.Generator | None = None,
        present: Tensor | None = None,
        shown: Tensor | None = None,
    ) -> Reconstruction:
        assert not bool((observed & self.absent).any())
        return super().forward(images, observed, conditions, generator, present)


def test_nothing_absent_is_observed(measured: ArraySplit) -> None:
    model = Watched(Settings(), FIELDS)
    model.absent = ~truth(measured).observed
    evaluate(loaded(model), EvaluationRequest(mask_kind="boxes", keep_sets=[["heat"], ["rain", "forest"]]))


def test_no_images_are_no_figures(measured: ArraySplit, monkeypatch: pytest.MonkeyPatch) -> None:
    images = truth(measured)
    assert images.present is not None
    present = images.present.clone()
    present[:, 2] = False
    gone = ArraySplit(FIELDS, images.images, present=present)
    monkeypatch.setattr(autoencoder, "open_split", lambda *arguments: gone)
    result = shaded(EvaluationRequest(keep_sets=[["rain"], ["heat"]]))
    rain, heat = result.parts
    assert (rain.images, rain.mse, rain.psnr, rain.pooled_psnr, rain.ssim, rain.mean_iou) == (0, None, None, None, None, None)
    assert rain.components == {}
    assert (heat.images, heat.mse) == (6, None), "only the shape can be judged"
    assert heat.mean_iou is not None
    assert "The component rain is absent from all of these images." in result.notes
    assert "No image holds both what 'keep rain' keeps and anything that is missing there." in result.notes
    json.dumps(result.to_json(), allow_nan=False)
    assert "keep rain" in printed(result)


def test_constant_components_are_said_to_be(measured: ArraySplit, monkeypatch: pytest.MonkeyPatch) -> None:
    images = truth(measured)
    stored = images.images.clone()
    stored[:, 0], stored[:, 1] = 1000, 0
    black = ArraySplit(FIELDS, stored, present=images.present)
    monkeypatch.setattr(autoencoder, "open_split", lambda *arguments: black)
    result = shaded(EvaluationRequest(keep_sets=[["rain"]]))
    assert result.notes[:2] == (
        "The component heat is constant in these images; its PSNR means nothing.",
        "The component forest is the same in all pixels of these images; its IoU only says in how many the model agrees.",
    )
    assert result.full.components["heat"].relative_error is None
    assert all(f"note: {note}" in printed(result) for note in result.notes)


def test_an_error_above_that_of_a_constant_picture_is_said(measured: ArraySplit) -> None:
    result = shaded(EvaluationRequest(keep_sets=[["heat"]]))
    note = "keep heat: a constant picture has no larger error in rain (MSE / variance 1 or more)."
    relative = result.parts[0].components["rain"].relative_error
    assert relative is not None
    assert relative >= 1
    assert note in result.notes


@pytest.mark.parametrize("kind", ["boxes", "half"])
def test_pixels_are_hidden_from_all_images_that_have_some(kind: str, measured: ArraySplit) -> None:
    (part,) = shaded(EvaluationRequest(keep_sets=[], mask_kind=kind)).parts
    batch = truth(measured)
    assert batch.present is not None
    scenario = mask_scenarios(FIELDS, [], kind)[1]
    judged = batch.present & ~scenario.observed(torch.arange(9), batch.images.shape)
    errors = (0.2 - FIELDS.to_unit(batch.images))[:, [0, 2]][judged[:, [0, 2]]].double()
    assert part.images == int(judged.flatten(1).any(1).sum())
    assert part.mse == pytest.approx(float(errors.square().mean()), rel=1e-6)


def test_a_scenario_judges_only_images_that_hold_what_it_keeps() -> None:
    present = torch.tensor([[True, True, True], [False, True, True], [True, False, True], [True, False, False]])
    present = present[:, :, None, None].expand(4, 3, 2, 2)
    keep = MaskScenario("keep some", (0, 1))
    observed = keep.observed(torch.arange(4), present.shape) & present
    assert keep.judged(present, observed)[..., 0, 0].tolist() == [[False, False, True]] + [[False] * 3] * 3
    everything = MaskScenario("full input", (0, 1, 2))
    assert torch.equal(everything.judged(present, present), present)


def sampler() -> Sampler:
    pipe = pipeline(FIELDS)
    return Sampler(Counting(code_spec(pipe.tokenizer, ("observed",)), 0.1).eval(), pipe, Path("runs/prior/model.safetensors"))


def test_rates_are_means_over_the_images_of_a_scenario() -> None:
    chosen, images = sampler(), fields()
    cases = conditioning_cases(chosen.prior.spec, FIELDS, [["rain"], ["heat"]], None, False)
    batch, meter = truth(images), RateMeter(chosen, cases, False)
    for part in torch.arange(9).split(4):
        meter.add(part, images.batch(part).to(CPU, FIELDS), batch.images[part])
    rain, heat, unconditional = meter.rates()
    assert (rain.images, heat.images, unconditional.images) == (5, 6, 9)
    alone = RateMeter(chosen, cases, False)
    alone.add(HOLDS_RAIN, images.batch(HOLDS_RAIN).to(CPU, FIELDS))
    assert rain.bits_per_image == pytest.approx(alone.rates()[0].bits_per_image)
    distortion = meter.distortion()
    assert list(distortion.rmse) == list(distortion.mae) == ["heat", "rain"]
    assert list(distortion.iou) == ["forest"]
    none = RateMeter(chosen, cases, False)
    none.add(torch.tensor([1]), images.batch(torch.tensor([1])).to(CPU, FIELDS))
    assert [rate.name for rate in none.rates()] == ["keep heat", "unconditional"]


def test_nothing_absent_is_observed_by_a_prior_or_its_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = ~truth(fields()).observed
    encode, complete, features, seen = Blocks.encode, Sampler.complete, Blocks.features, []

    def watched(images: Tensor, observed: Tensor) -> None:
        seen.append(len(images))
        # The images of a batch are told apart by their own gaps: all are of the whole split here, or without those left out.
        rows = absent if len(images) == 9 else absent[HOLDS_RAIN]
        assert not bool((observed & rows.repeat_interleave(len(images) // len(rows), dim=0)).any())

    def watched_encode(self: Blocks, images: Tensor, observed: Tensor) -> object:
        watched(images, observed)
        return encode(self, images, observed)

    def watched_features(self: Blocks, images: Tensor, observed: Tensor) -> object:
        watched(images, observed)
        return features(self, images, observed)

    def watched_complete(self: Sampler, images: Tensor, observed: Tensor, *rest: object, **named: object) -> object:
        watched(images, observed)
        return complete(self, images, observed, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Blocks, "encode", watched_encode)
    monkeypatch.setattr(Blocks, "features", watched_features)
    monkeypatch.setattr(Sampler, "complete", watched_complete)
    chosen = sampler()
    cases = conditioning_cases(chosen.prior.spec, FIELDS, [["rain"]], None, False)
    RateMeter(chosen, cases, False).add(torch.arange(9), truth(fields()).to(CPU, FIELDS))
    scenario = mask_scenarios(FIELDS, [["rain"]])[1]
    measure_completions(chosen, scenario, Sources(truth(fields()), torch.arange(9)), 3, Sampling(), no_progress)
    assert {9, 5} <= set(seen)


def test_completions_are_drawn_of_the_images_of_a_scenario() -> None:
    chosen, batch = sampler(), truth(fields(garbage=65535))
    scenario = mask_scenarios(FIELDS, [["rain"]])[1]
    result = measure_completions(chosen, scenario, Sources(batch, torch.arange(9)), 3, Sampling(), no_progress)
    assert result is not None
    assert (result.images, result.metric, result.metrics) == (5, "mixed", {"heat": "psnr", "forest": "iou"})
    assert result.one_pass.mean is None, "an overlap and decibels have no mean"
    assert set(result.one_pass.components) == {"heat", "forest"}
    assert result.one_pass.pooled_psnr is not None
    other = truth(fields())
    assert measure_completions(chosen, scenario, Sources(other, torch.arange(9)), 3, Sampling(), no_progress) == result
    without = Sources(batch, torch.arange(9)).rows(torch.tensor([1, 4]))
    assert measure_completions(chosen, scenario, without, 3, Sampling(), no_progress) is None


class Gappy(ImageDataset):
    """The fields, in every split."""

    Options = Settings
    spec = FIELDS

    def __init__(self, garbage: int) -> None:
        self.garbage = garbage

    def split(self, name: SplitName) -> ArraySplit:
        return fields(garbage=self.garbage)


@pytest.mark.parametrize("garbage", [0, 65535])
def test_a_prior_is_evaluated_on_what_is_present(garbage: int, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Gappy(garbage)

    def opened(*arguments: object) -> PriorData:
        return PriorData(dataset, fields(garbage=garbage), fields(garbage=garbage), fields(garbage=garbage))

    monkeypatch.setattr(prior_evaluation, "_open", opened)
    request = PriorEvaluationRequest(data="tyre", keep_sets=[["rain"]], num_samples=9, completions=2)
    result = evaluate_prior(sampler(), request)
    batch = truth(fields())
    assert batch.present is not None
    assert result.samples is not None
    values = result.samples.contents[0].values
    for position, name in ((0, "heat"), (2, "rain")):
        own = batch.images[:, position][batch.present[:, position]].double()
        assert values[name] == pytest.approx(float(own.mean()))
    shape = batch.images[:, 1][batch.present[:, 1]] == 255
    assert values["forest"] == pytest.approx(float(shape.double().mean()))
    assert list(result.samples.contents[0].parts) == ["forest"]
    shares = result.samples.contents[0].parts["forest"]
    assert (shares[0], sum(shares)) == (0, pytest.approx(1)), "an image without data has no number of parts, not none"
    assert result.samples.plausibility[0].name == "held-out images"
    assert result.samples.plausibility[0].usual_parts == 1
    text = io.StringIO()
    print_prior(Console(file=text, width=240), result)
    assert "pixels or mean value, training images" in text.getvalue()
    assert "IoU or PSNR dB" in text.getvalue()


def test_models_and_priors_never_get_what_is_not_observed() -> None:
    """Also those that multiply images by what is observed: NaN times 0 is NaN."""
    warm = DataSpec("warm", tuple(ComponentSpec(name, dtype="float32", high=1.0, maximum=1.0) for name in "ab"), 8, 8)
    images = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    observed = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    pipe = pipeline(warm)
    chosen = Sampler(Counting(code_spec(pipe.tokenizer, ("observed",)), 0.1).eval(), pipe, Path("runs/prior/model.safetensors"))
    found = []
    for hidden in (0.0, torch.nan):
        given = torch.where(observed, images, hidden)
        filled, completed = pipe.fill(given, observed), chosen.complete(given, observed, 2)
        found.append((pipe.encode_batch(given, observed)[0], filled, completed.images, completed.nll))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_the_mean_image_is_that_of_what_is_present() -> None:
    images = fields(garbage=65535)
    encoded = encode_images(Blocks(FIELDS), images, 4, CPU)
    batch = truth(images)
    assert batch.present is not None
    unit = FIELDS.to_unit(batch.images).double()
    mean = torch.where(batch.present, unit, 0).sum(0) / batch.present.sum(0)
    torch.testing.assert_close(encoded.mean_image, mean.float())


def test_level_ablations_are_judged_on_what_is_present() -> None:
    colours = DataSpec.uniform("photos", ("r", "g", "b"), 16, 16, "intensity")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"hidden": 8, "inner": 4, "blocks": 0, "attention": False, "quantizer": {"num_codes": 8, "dim": 4}}
        model = MODELS.build("vqvae2", options, colours).eval()
    stored = torch.randint(256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    present = torch.ones(4, 1, 16, 16, dtype=torch.bool)
    present[1, :, :8], present[2] = False, False
    split = ArraySplit(colours, stored, present=present)
    hierarchical = level_ablation.multi_level(model)  # type: ignore[arg-type]
    assert hierarchical is not None
    codes = encode_images(hierarchical, split, 4, CPU).levels
    means = level_ablation.ablation_baselines(hierarchical, codes, 4, CPU)
    (found, *_) = level_ablation.measure_ablations(hierarchical, split, codes, means, 3, CPU)
    with torch.inference_mode():
        decoded = hierarchical.decode(tuple(level.long() for level in codes), torch.empty(4, 0))
    each = [(decoded[image] - stored[image] / 255)[:, present[image, 0]].double().square() for image in (0, 1, 3)]
    assert found.images == 3
    assert found.psnr == pytest.approx(sum(-10 * math.log10(float(error.mean())) for error in each) / 3, abs=1e-4)
    pooled = torch.cat([error.flatten() for error in each]).mean()
    assert found.pooled_psnr == pytest.approx(-10 * math.log10(float(pooled)), abs=1e-4)


def test_bits_per_dimension_are_of_the_values_that_are_present() -> None:
    grey = DataSpec.uniform("digits", ("grey",), 16, 16, "intensity")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"hidden": 8, "inner": 4, "latent_dim": 4, "blocks": 0, "attention": False}
        model = MODELS.build("vae", options, grey).eval()
    stored = torch.randint(256, (3, 1, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    present = torch.ones(3, 1, 16, 16, dtype=torch.bool)
    present[0, :, :4], present[1] = False, False
    bounds = measure_bounds(model, ArraySplit(grey, stored, present=present), 3)  # type: ignore[arg-type]
    assert (bounds.images, bounds.dimensions) == (2, (12 * 16 + 16 * 16) / 2)
    known = torch.where(present, stored / 255, 0)
    each = [
        model.log_weights(  # type: ignore[attr-defined]
            known[[image]], torch.empty(1, 0), 3, generator_for(0, "bound", image), present[[image]]
        ).mean()
        for image in (0, 2)
    ]
    assert bounds.elbo == pytest.approx(float(torch.stack(each).detach().mean()))
    other = measure_bounds(model, ArraySplit(grey, torch.where(present, stored, 255), present=present), 3)  # type: ignore[arg-type]
    assert other == bounds
    assert bounds.bits == pytest.approx(-bounds.importance_weighted / (224 * math.log(2)))
    with pytest.raises(DataError, match="No image holds any data"):
        measure_bounds(model, ArraySplit(grey, stored, present=torch.zeros_like(present)), 3)  # type: ignore[arg-type]


def test_images_without_gaps_are_measured_as_before() -> None:
    batch = truth(fields())
    everything = torch.ones_like(batch.images, dtype=torch.bool)
    assert torch.equal(fully_observed(batch.images), everything)
    for scenario in mask_scenarios(FIELDS, None, "boxes"):
        observed = scenario.observed(torch.arange(9), batch.images.shape)
        expected = everything if scenario.name == "full input" else ~observed
        assert torch.equal(scenario.judged(everything, observed), expected)
