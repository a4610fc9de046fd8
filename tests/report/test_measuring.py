"""Measuring a run, and finding which runs may be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from vqkit.data.subsets import Subset
from vqkit.errors import CheckpointError, ConfigError, DataError
from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.interfaces import DataSpec, Split
from vqkit.report import measuring
from vqkit.report.compared_runs import find_runs
from vqkit.report.measuring import FILE, EvaluationProtocol, measure, report_request
from vqkit.report.page import About
from vqkit.report.published import published_for
from vqkit.report.writing import write_report
from vqkit.storage.checkpoints import Loaded, load_model, write_model
from vqkit.storage.runs import locate

QUICK = EvaluationProtocol(images=4, bound_images=2, bound_samples=2)


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the tiny run, which may be changed."""
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.fixture
def like(run: Path) -> Callable[..., str]:
    """Copies of the run whose run.yaml says something else."""

    def copy(folder: str, group: str, **settings: object) -> str:
        other = shutil.copytree(run, run.parent / folder)
        content = yaml.safe_load((other / "run.yaml").read_text())
        content[group] = settings if "name" in settings else content[group] | settings
        (other / "run.yaml").write_text(yaml.safe_dump(content))
        return str(other)

    return copy


def test_results_are_those_of_evaluate_and_are_measured_once(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(run)
    first = measure(loaded, run, QUICK)
    expected = evaluate(run, EvaluationRequest(limit=4, mask_kind="boxes"))
    assert [part.name for part in first.evaluation.parts][-2:] == ["all but tpc", "boxes missing"]
    assert first.evaluation.parts == expected.parts
    assert first.bounds is None  # no prior of its own
    assert first.parameters == sum(parameter.numel() for parameter in loaded.model.parameters())

    def refuse(*arguments: object, **settings: object) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr(measuring, "evaluate", refuse)
    assert measure(loaded, run, QUICK) == first
    with pytest.raises(AssertionError, match="measured twice"):
        measure(loaded, run, replace(QUICK, images=3))
    with pytest.raises(AssertionError, match="measured twice"):
        measure(loaded._replace(digest="another"), run, QUICK)


def test_other_images_under_the_same_names_are_measured_anew(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(run)
    measure(loaded, run, QUICK)

    def count(*arguments: object, **settings: object) -> None:
        raise AssertionError("measured again")

    opened = measuring.open_split
    monkeypatch.setattr(measuring, "evaluate", count)
    for changed in ("train", "test"):

        def other(loaded: Loaded, data: Any, split: str, limit: int | None = None, changed: str = changed) -> Split:
            images = opened(loaded, data, split, limit)
            return Subset(images, torch.arange(len(images)).flip(0)) if split == changed else images

        monkeypatch.setattr(measuring, "open_split", other)
        with pytest.raises(AssertionError, match="measured again"):
            measure(loaded, run, QUICK)


def test_a_broken_cache_is_measured_anew(run: Path) -> None:
    loaded = load_model(run)
    first = measure(loaded, run, QUICK)
    content = json.loads((run / FILE).read_text())
    for broken in ("{", "[]", json.dumps({**content, "measurement": {"parameters": 3}})):
        (run / FILE).write_text(broken)
        assert measure(loaded, run, QUICK).evaluation.parts == first.evaluation.parts
    assert json.loads((run / FILE).read_text())["digest"] == loaded.digest


def test_channels_of_colour_pictures_are_not_hidden() -> None:
    cats, cells = (DataSpec.uniform("data", names, 8, 8, "intensity") for names in (("r", "g", "b"), ("a", "b")))
    assert report_request(cats) == EvaluationRequest(keep_sets=[], mask_kind="boxes")
    assert report_request(cells, 5) == EvaluationRequest(mask_kind="boxes", limit=5)


def test_seeds_of_one_configuration_are_one_model(run: Path, like: Callable[..., str]) -> None:
    second, faster = like("second", "training", seed=1), like("faster", "training", learning_rate=0.1)
    found = find_runs([str(run), second, faster])
    assert [(each.label, each.seed) for each in found] == [("vqvae", 0), ("vqvae", 1), ("vqvae (faster)", 0)]
    assert found[1].directory == Path(second)


def test_a_checkpoint_that_is_named_is_the_one_that_is_measured(run: Path, tmp_path: Path) -> None:
    best = locate(run)
    early = shutil.copytree(best.parent, run / "checkpoints" / "step-00000003")
    loaded = load_model(best)
    torch.nn.init.zeros_(next(loaded.model.parameters()))
    write_model(early / "model.safetensors", loaded.model, loaded.data)
    (named,), (whole,) = find_runs([str(early)]), find_runs([str(run)])
    assert (named.directory, named.place, whole.place, whole.file) == (run, early, run, None)
    reports = [write_report([each], tmp_path / "report", About("a", "b"), QUICK) for each in (whole, named, whole)]
    rows = [report.results[0] for report in reports]
    assert rows[0].whole_mse == rows[2].whole_mse and rows[0].whole_mse != rows[1].whole_mse
    assert [row.training_steps for row in rows] == [20, 3, 20] and rows[1].run.endswith("step-00000003")


def test_runs_that_cannot_be_compared_are_refused(run: Path, like: Callable[..., str], tiny_prior_run: Path) -> None:
    with pytest.raises(DataError, match=r"was trained on tyre with data.num_train = 95, and .*run on tyre with .* = 96"):
        find_runs([str(run), like("fewer", "data", num_train=95)])
    with pytest.raises(DataError, match=r"was trained on elsewhere/cats, and .* on tyre: metrics on different images"):
        find_runs([str(run), like("cats", "data", name="images", path="elsewhere/cats")])
    with pytest.raises(ConfigError, match="is named 2 times"):
        find_runs([str(run), str(run)])
    with pytest.raises(ConfigError, match="the same configuration and the same seed 0"):
        find_runs([str(run), like("twin", "training")])
    with pytest.raises(CheckpointError, match="holds a prior, not a model"):
        find_runs([str(tiny_prior_run)])
    (run / "run.yaml").unlink()
    with pytest.raises(CheckpointError, match="is not in a run directory"):
        find_runs([str(run)])


@pytest.mark.parametrize(
    ("place", "known"),
    [("data/cats64", True), ("cat-image", True), ("d/Cats", True), ("cats/education", False), ("tyre", False)],
)
def test_published_results_are_for_cats_only(place: str, known: bool) -> None:
    assert bool(published_for(place)) is known
