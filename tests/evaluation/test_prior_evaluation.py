"""The evaluation of a whole prior on small tyre data."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from painting import Counting, pipeline
from vqkit.config import NamedOptions
from vqkit.data.opening import open_dataset
from vqkit.data.subsets import shuffled_indices
from vqkit.errors import ConfigError, DataError
from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.completion_floors import floor_score
from vqkit.evaluation.completion_quality import Score, Sources
from vqkit.evaluation.mask_scenarios import MaskScenario
from vqkit.evaluation.prior import COMPLETED_IMAGES, PriorEvaluation, evaluate_prior
from vqkit.evaluation.progress import Progress, no_progress
from vqkit.evaluation.requests import EvaluationRequest, PriorEvaluationRequest
from vqkit.evaluation.scenario_metrics import ComponentMetrics, FloorMetrics
from vqkit.evaluation.shape_statistics import connected_parts
from vqkit.evaluation.verdicts import best_of
from vqkit.inference.conditioning import code_spec
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import DataSpec
from vqkit.interfaces.priors import Sampling
from vqkit.storage.checkpoints import Loaded

TYRES = NamedOptions(name="tyre", num_train=20, num_val=2, num_test=11)
DATASET = open_dataset(TYRES)


def sampler(*kinds: str, sharpness: float = 0.1, data: NamedOptions | None = TYRES) -> Sampler:
    pipe = pipeline(DATASET.spec)
    prior = Counting(code_spec(pipe.tokenizer, kinds), sharpness).eval()
    return Sampler(prior, pipe, Path("runs/prior/model.safetensors"), data=data)


def measure(chosen: Sampler, progress: Progress = no_progress, **settings: Any) -> PriorEvaluation:
    return evaluate_prior(chosen, PriorEvaluationRequest(**{"num_samples": 6, "completions": 2, **settings}), progress=progress)


BEYOND = pytest.mark.filterwarnings("ignore:height_px 41 is outside")
"""Of 20 training sections none is as low as one of the held-out ones."""


@BEYOND
def test_a_prior_conditioned_on_metadata_is_measured_in_every_case() -> None:
    result = measure(sampler("metadata"))
    assert (result.prior, result.condition_on, result.images, result.split) == ("Counting", ("metadata",), 11, "test")
    assert result.data["num_test"] == 11
    assert [rate.name for rate in result.rates] == ["conditional", "unconditional"]
    assert result.uniform.nll_per_code == pytest.approx(math.log(16))
    assert result.completions == ()
    assert result.samples is not None
    names = ["held-out images", "reconstructions", "samples", "conditional samples"]
    assert [row.name for row in result.samples.plausibility if "independently" not in row.name] == names
    assert [each.name for each in result.samples.contents] == ["training images", *names[2:]]
    held_out = result.samples.plausibility[0]
    assert (held_out.images, held_out.free_of_overlap, held_out.overlap) == (6, 1, 0)


@BEYOND
def test_adherence_is_to_the_conditions_of_held_out_images() -> None:
    result = measure(sampler("metadata"))
    asked = DATASET.split("test").batch(shuffled_indices(11, 6)).conditions
    # Told a width, the decoder paints every pixel of every component: what is measured is always the whole picture.
    assert result.samples is not None
    for column, each in enumerate(result.samples.adherence):
        assert each.condition == ("width_px", "height_px")[column]
        assert each.images == 6
        assert each.mean_absolute_error == each.bias == pytest.approx(float((64 - asked[:, column]).mean()))


def test_training_images_say_what_is_usual_and_how_often_codes_occur() -> None:
    result = measure(sampler(), completions=0)
    images = DATASET.split("train").batch(torch.arange(20)).images
    assert result.samples is not None
    training = result.samples.contents[0]
    assert list(training.values.values()) == pytest.approx((images / 255).mean(dim=(0, 2, 3)).tolist(), rel=1e-5)
    parts = connected_parts(images > 0)
    for column, shares in enumerate(training.parts.values()):
        assert shares == [float((parts[:, column] == number).double().mean()) for number in range(len(shares))]
    counts, held_out = (
        torch.bincount(
            pipeline(DATASET.spec).encode(DATASET.split(name).batch(torch.arange(size)).images)[0].flatten(), minlength=16
        )
        for name, size in (("train", 20), ("test", 11))
    )
    nll = -((counts + 1).double() / (counts + 1).sum()).log()
    assert result.unigram.nll_per_code == pytest.approx(float((held_out * nll).sum() / held_out.sum()))


def test_a_prior_that_sees_parts_completes_them() -> None:
    result = measure(sampler("observed"), keep_sets=[["group_nc"], ["group_nc", "tpc"]], limit=3)
    assert [rate.name for rate in result.rates] == ["keep group_nc", "keep group_nc,tpc", "unconditional"]
    assert [(each.name, each.images, each.samples) for each in result.completions] == [
        ("keep group_nc", 3, 2),
        ("keep group_nc,tpc", 3, 2),
    ]
    assert result.completions[1].missing == ("group_km", "bt", "fpu")
    assert result.samples is not None
    assert result.samples.adherence == ()


def test_completions_stand_beside_the_floors_of_the_same_images() -> None:
    chosen = sampler("observed")
    result = measure(chosen, keep_sets=[["group_nc"], ["group_nc", "tpc"]], limit=3, num_samples=0)
    model = Loaded(chosen.pipeline.model, Path("runs/tokenizer/model.safetensors"), "d" * 64, TYRES, {})
    beside = evaluate(model, EvaluationRequest(keep_sets=[["group_nc"], ["group_nc", "tpc"]], limit=3))
    for part in beside.parts:
        floors = result.completion_floors[part.name]
        assert [(each.name, each.mse, each.iou) for each in floors] == [(each.name, each.mse, each.iou) for each in part.floors]
    metrics = dict.fromkeys(("group_km", "bt", "fpu", "tpc"), "iou")
    best = best_of(result.completion_floors["keep group_nc"])
    assert best is not None
    assert floor_score(best, metrics) == Score(best.iou, pytest.approx(sum(best.iou.values()) / 4))
    own = result.completions[0].one_pass.mean
    assert own is not None and best.mean_iou is not None and best.mean_iou > own
    figures = f"(IoU {best.mean_iou:.4f}, one pass IoU {own:.4f})."
    assert f"keep group_nc: {best.name} fills in better than one pass of the tokenizer {figures}" in result.notes
    assert measure(chosen, keep_sets=[["bt"]], limit=3, num_samples=0, floors=False).completion_floors == {}
    assert measure(chosen, keep_sets=[["bt"]], limit=3, num_samples=0, completions=0).completion_floors == {}


def test_floors_of_intensities_are_scored_by_their_psnr() -> None:
    errors = ComponentMetrics(3, 0.1, None, 10.0, 9.5, 0.5, None, None, "")
    others = {"images": 3, "mse": 0.1, "psnr": 10.0, "pooled_psnr": 9.5, "ssim": 0.5, "mean_dice": None, "sources": {}}
    two = FloorMetrics(name="linear", components={"a": errors, "b": errors}, iou={}, dice={}, mean_iou=None, **others)
    assert floor_score(two, {"a": "psnr", "b": "psnr"}) == Score({"a": 10.0, "b": 10.0}, 10.0, 9.5)
    mixed = replace(two, iou={"b": 0.25}, dice={"b": 0.5}, mean_iou=0.25)
    assert floor_score(mixed, {"a": "psnr", "b": "iou"}) == Score({"a": 10.0, "b": 0.25}, None, 9.5)
    assert floor_score(None, {"a": "psnr"}) == Score({}, None)


def test_without_a_limit_only_some_images_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert COMPLETED_IMAGES > 4
    monkeypatch.setattr("vqkit.evaluation.prior.COMPLETED_IMAGES", 4)
    result = measure(sampler("observed"), keep_sets=[["bt"]], completions=1, num_samples=0)
    assert (result.images, result.completions[0].images) == (11, 4)
    limited = measure(sampler("observed"), keep_sets=[["bt"]], completions=1, num_samples=0, limit=6)
    assert (limited.images, limited.completions[0].images) == (6, 6)


def test_an_image_is_completed_in_one_way_whatever_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Sources] = []

    def note(sampler: Sampler, scenario: MaskScenario, sources: Sources, *others: object) -> None:
        found.append(sources)

    monkeypatch.setattr("vqkit.evaluation.prior.measure_completions", note)
    for limit in (3, 6, None):
        measure(sampler("observed"), keep_sets=[["bt"]], num_samples=0, limit=limit)
    few, more, all_ = (each.positions for each in found)
    assert torch.equal(few, more[:3]) and torch.equal(more, all_[:6])
    assert torch.equal(found[0].batch.images, DATASET.split("test").batch(few).images)


@pytest.mark.filterwarnings("ignore:height_px 41 is outside")
def test_conditions_beside_a_part_are_used_only_on_request() -> None:
    chosen = sampler("observed", "metadata", sharpness=50.0)
    hidden, conditioned = (measure(chosen, keep_sets=[["bt"]], limit=2, with_conditions=use) for use in (False, True))
    assert (hidden.with_conditions, conditioned.with_conditions) == (False, True)
    assert hidden.completions[0].most_likely != conditioned.completions[0].most_likely
    assert hidden.distortion != conditioned.distortion
    assert conditioned.samples is not None
    assert [each.name for each in conditioned.samples.contents] == ["training images", "samples"]


def test_nothing_is_drawn_that_is_not_asked_for() -> None:
    result = measure(sampler("observed"), keep_sets=[["bt"]], num_samples=0, completions=0)
    assert (result.samples, result.completions) == (None, ())


def test_everything_is_json_and_the_same_again_whatever_the_batch_size() -> None:
    chosen = sampler("observed")
    first, second = (measure(chosen, keep_sets=[["bt"]], limit=5, batch_size=size).to_json() for size in (2, 64))
    assert json.loads(json.dumps(first, allow_nan=False))["sampling"]["seed"] == 0
    assert first["samples"] == second["samples"]
    assert first["completions"] == second["completions"]
    assert first["rates"][0]["bits_per_image"] == pytest.approx(second["rates"][0]["bits_per_image"])


def test_the_settings_of_drawing_are_used_and_recorded() -> None:
    cold = Sampling(temperature=0.01, seed=3)
    result = measure(sampler("observed"), keep_sets=[["bt"]], limit=2, sampling=cold)
    assert result.sampling == cold
    assert result.completions[0].diversity is not None
    assert result.completions[0].diversity.mean == 0
    one, other, again = (measure(sampler(), sampling=Sampling(seed=seed), limit=2).samples for seed in (0, 1, 0))
    assert one == again
    assert one != other


def test_progress_reports_everything_that_takes_time() -> None:
    conditioned: list[tuple[str, int]] = []
    done: dict[str, float] = {}

    @contextmanager
    def progress(what: str, total: int) -> Iterator[Callable[[float], None]]:
        conditioned.append((what, total))
        yield lambda count: done.update({what: done.get(what, 0) + count})

    measure(sampler("observed"), keep_sets=[["bt"]], limit=3, progress=progress)
    assert conditioned == [
        ("evaluated", 3),
        ("encoded (training images)", 20),
        ("drawn (samples)", 6),
        ("completed (keep bt)", 6),
        ("training images read for the floors", 20),
        ("measured for the floors", 3),
    ]
    assert done == pytest.approx(dict(conditioned))


def test_keep_sets_are_refused_by_a_prior_that_sees_no_parts() -> None:
    with pytest.raises(ConfigError, match=r"not trained to complete images.*--condition-on observed"):
        measure(sampler("metadata"), keep_sets=[["bt"]])
    with pytest.raises(ConfigError, match=r"not trained to complete images"):
        measure(sampler(), mask_kind="boxes")


def test_data_and_splits_are_checked() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'test'"):
        measure(sampler(), split="tests")
    with pytest.raises(DataError, match=r"does not name the data.*--data"):
        measure(sampler(data=None))
    assert measure(sampler(data=None), data=TYRES, num_samples=0).images == 11
    other = Sampler(Counting(code_spec(pipeline(TALL).tokenizer, ())), pipeline(TALL), Path("runs/prior"), data=TYRES)
    with pytest.raises(DataError, match=r"64 x 32 .*128 x 32"):
        measure(other)


TALL = DataSpec.uniform("tall", DATASET.spec.components, 128, 32, "binary")


def test_classes_of_another_data_set_are_unknown(tmp_path: Path) -> None:
    images, labels = np.zeros((6, 8, 8), dtype=np.uint8), np.array([0, 1, 2, 0, 1, 2])
    images[:, ::2] = 90
    np.savez(tmp_path / "digits.npz", train_images=images, train_labels=labels)
    spec = open_dataset(str(tmp_path / "digits.npz")).spec
    assert len(spec.classes) == 3
    own, foreign = spec, DataSpec.uniform(spec.name, spec.components, 8, 8, spec.value_kind, classes=("x", "y"))
    rates = {}
    for name, each in (("own", own), ("foreign", foreign)):
        pipe = pipeline(each)
        chosen = Sampler(Counting(code_spec(pipe.tokenizer, ("class",)), 1.0).eval(), pipe, Path("runs/prior"))
        result = measure(chosen, data=str(tmp_path / "digits.npz"), split="train", num_samples=4)
        rates[name] = result.rates[0].nll_per_code
        assert result.samples is not None
        assert result.samples.plausibility == ()
        assert [sample.name for sample in result.samples.contents[1:]] == ["samples", "conditional samples"]
        assert result.samples.contents[0].values == pytest.approx({spec.components[0]: 90 / 2}, rel=1e-5)
    assert rates["foreign"] == pytest.approx(math.log(16))
    assert rates["own"] != pytest.approx(rates["foreign"], rel=0.01)


def test_other_data_are_judged_beside_the_training_images_of_the_prior(tmp_path: Path) -> None:
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(4000, (8, 2, 8, 8), generator=drawn).to(torch.uint16).numpy()
    np.savez(tmp_path / "own.npz", train_images=images, val_images=images[:2], test_images=images[:4])
    np.savez(tmp_path / "other.npz", train_images=images[:, ::-1], val_images=images[:2], test_images=images[:4])
    np.savez(tmp_path / "float.npz", test_images=images[:4].astype(np.float32))
    own = NamedOptions(name="arrays", path=str(tmp_path / "own.npz"))
    spec = open_dataset(own).spec
    pipe = pipeline(spec)
    chosen = Sampler(
        Counting(code_spec(pipe.tokenizer, ("observed",)), 1.0).eval(), pipe, Path("runs/prior/model.safetensors"), data=own
    )
    keep, found = [[spec.components[0]]], []
    for name in ("own", "other", "float"):
        result = measure(chosen, data=str(tmp_path / f"{name}.npz"), keep_sets=keep, limit=3, num_samples=0)
        found.append([floor.pooled_psnr for row in result.completion_floors.values() for floor in row])
        assert len(result.completions) == 1
    assert found[0] and found[0] == found[1] == pytest.approx(found[2])
    (tmp_path / "own.npz").unlink()  # as of a prior that somebody else trained
    result = measure(chosen, data=str(tmp_path / "other.npz"), keep_sets=keep, limit=3, num_samples=0)
    assert "those of the given data stand in" in result.notes[0]
    assert [floor.pooled_psnr for row in result.completion_floors.values() for floor in row] != found[0]
