"""Levels of a hierarchical prior that are trained one after the other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from small_runs import tiny
from vqkit.cli.app import app
from vqkit.config import PriorRunConfig
from vqkit.errors import CheckpointError, ConfigError
from vqkit.inference.sampler import load_sampler
from vqkit.storage.checkpoints import load_prior
from vqkit.storage.code_files import read_codes
from vqkit.training.run import train

SMALL = {"name": "hierarchical", "channels": 8, "layers": 2, "blocks": 1}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "two-levels"
    settings = tiny(steps=6)
    train(None, {**settings, "model": {**settings["model"], "name": "vqvae2"}}, [], run, "auto")
    return run


def settings(tokenizer: Path | None, **given: Any) -> dict[str, Any]:
    training = {"batch_size": 16, "steps": 12, "warmup_steps": 2, "precision": "fp32", "learning_rate": 1e-2}
    named = {} if tokenizer is None else {"tokenizer": {"run": str(tokenizer)}}
    levels = {name: given.pop(name) for name in ("learn", "start_from") if name in given}
    return {"prior": SMALL, "training": training, "levels": levels, **named, **given}


def train_levels(run: Path, given: dict[str, Any]) -> Path:
    train(None, given, [], run, "auto", PriorRunConfig)
    return run


@pytest.fixture(scope="module")
def top(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_levels(tmp_path_factory.mktemp("priors") / "top", settings(tokenizer, learn=["top"]))


def last_row(run: Path) -> dict[str, float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return next(row for row in reversed(rows) if "val/loss" in row)


def of_level(run: Path, level: int) -> dict[str, torch.Tensor]:
    state = load_prior(run).prior.state_dict()
    return {name: value for name, value in state.items() if name.startswith((f"networks.{level}.", f"coarser.{level - 1}."))}


def test_a_level_alone_is_measured_alone(top: Path) -> None:
    row = last_row(top)
    assert {"val/nll_top", "val/unigram_nll_top"} <= row.keys()
    assert not any("bottom" in name for name in row)
    assert row["val/loss"] == row["val/nll"] == row["val/nll_top"]
    assert row["val/uniform_nats"] == pytest.approx(math.log(32), rel=1e-4)
    assert row["val/bits_per_image"] == pytest.approx(row["val/nll"] * 8 * 4 / math.log(2), rel=1e-4)
    assert {path.stem for path in (top / "images").iterdir()} == {"epoch_0001_reconstruction", "epoch_0002_reconstruction"}


def test_half_a_prior_is_not_sampled_from(top: Path) -> None:
    assert load_prior(top).learned_levels == ("top",)
    with pytest.raises(CheckpointError, match="was trained on top, and not yet on bottom") as raised:
        load_sampler(top)
    assert raised.value.hint == f"Continue with: vqkit train-prior --level bottom --start-from {top}"


def test_the_next_level_leaves_the_first_as_it_was(top: Path, tokenizer: Path, tmp_path: Path) -> None:
    # The settings of the prior, its tokenizer and its data are those of the run that it starts from.
    given = settings(None, learn=["bottom"], start_from=str(top))
    run = train_levels(tmp_path / "both", {name: group for name, group in given.items() if name != "prior"})
    assert all(torch.equal(value, of_level(top, 0)[name]) for name, value in of_level(run, 0).items())
    assert not all(torch.equal(value, of_level(top, 1)[name]) for name, value in of_level(run, 1).items())
    row = last_row(run)
    assert row["val/nll_top"] == pytest.approx(last_row(top)["val/nll_top"], rel=1e-5)
    assert row["val/loss"] == row["val/nll_bottom"]
    assert row["val/nll"] == pytest.approx((32 * row["val/nll_top"] + 128 * row["val/nll_bottom"]) / 160, rel=1e-4)
    assert row["val/unigram_nll"] == pytest.approx(
        (32 * row["val/unigram_nll_top"] + 128 * row["val/unigram_nll_bottom"]) / 160, rel=1e-4
    )
    assert load_sampler(run).sample(2).images.shape == (2, 5, 64, 32)


def test_together_all_levels_learn_and_each_has_its_figures(tokenizer: Path, tmp_path: Path) -> None:
    run = train_levels(tmp_path / "together", settings(tokenizer))
    assert {"val/nll_top", "val/nll_bottom", "val/unigram_nll_top", "val/unigram_nll_bottom"} <= last_row(run).keys()
    assert load_prior(run).learned_levels == ("top", "bottom")


def test_each_level_may_have_its_own_temperature_on_the_command_line(tokenizer: Path, tmp_path: Path) -> None:
    run = train_levels(tmp_path / "both", settings(tokenizer))
    for name, temperature in (("cold", "0.01,1"), ("same", "0.01,1"), ("warm", "1,1")):
        app(
            ["sample", "--run", str(run), "-n", "4", "--temperature", temperature, "--codes", "--out", str(tmp_path / name)],
            standalone_mode=False,
        )
    cold, same, warm = (read_codes(tmp_path / name / "codes.safetensors").codes for name in ("cold", "same", "warm"))
    assert all(torch.equal(*pair) for pair in zip(cold, same, strict=True))
    assert not torch.equal(cold[0], warm[0])


def test_wrong_starts_and_levels_are_refused(top: Path, tokenizer: Path, tiny_run: Path, tmp_path: Path) -> None:
    def refused(run: str = "refused", **given: Any) -> tuple[str, str]:
        with pytest.raises((ConfigError, CheckpointError)) as raised:
            train_levels(tmp_path / run, given)
        return raised.value.message, raised.value.hint or ""

    message, hint = refused(**settings(tokenizer, learn=["botom"]))
    assert message == "The prior has no level 'botom' to train."
    assert "bottom" in hint
    message, hint = refused("other", **settings(None, start_from=str(top)) | {"prior": {"name": "hierarchical", "channels": 16}})
    assert "has prior.channels = [8], not [16]" in message
    message, _ = refused("third", **settings(tiny_run, start_from=str(top)))
    assert "is another one" in message
    message, hint = refused("fourth", **settings(None, start_from=str(top), conditioning={"condition_on": ["metadata"]}))
    assert message.endswith("is conditioned on nothing, not on metadata.")
    assert hint.startswith("Give --condition-on none")
    message, hint = refused(
        "fifth",
        **settings(tiny_run, learn=["codes"]) | {"prior": {"name": "pixelcnn", "channels": 8}} | {"levels": {"learn": ["top"]}},
    )
    assert message == "The prior has no level 'top' to train."
    message, _ = refused("sixth", **settings(None, start_from=str(tokenizer)))
    assert "holds a model, not a prior" in message
