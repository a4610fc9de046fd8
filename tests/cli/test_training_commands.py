"""What is typed after the commands that train arrives where it belongs, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vqkit.cli.app import app
from vqkit.config import PretrainingRunConfig, PriorRunConfig
from vqkit.interfaces import DataSpec
from vqkit.training.trainer import Outcome

SPEC = DataSpec.uniform("toy", ("a", "b"), 8, 8, "binary")

TYPED = {
    "--epochs": ("epochs", 3),
    "--steps": ("steps", 40),
    "--batch-size": ("batch_size", 5),
    "--lr": ("learning_rate", 0.25),
    "--seed": ("seed", 6),
    "--device": ("device", "cpu"),
    "--precision": ("precision", "fp32"),
}


def received(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[Any, ...]:
    """What `vqkit.training.run.train` is called with. A model's run is compared with floors afterwards, and no other one."""
    calls: list[tuple[Any, ...]] = []
    compared: list[Path] = []

    def train(*given: Any) -> Outcome:
        calls.append(given)
        return Outcome(Path("runs/somewhere"), SPEC, 1, {})

    monkeypatch.setattr("vqkit.training.run.train", train)
    monkeypatch.setattr("vqkit.training.floor_check.report_floors", compared.append)
    with pytest.raises(SystemExit) as caught:
        app([*words], prog_name="vqkit")
    assert caught.value.code == 0
    assert compared == ([Path("runs/somewhere")] if words[0] in ("train-vqvae", "train") else [])
    (call,) = calls
    return call


@pytest.mark.parametrize("command", ["train-vqvae", "train", "train-prior", "pretrain"])
def test_the_options_of_every_training_are_settings(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    words = [word for flag, (_, value) in TYPED.items() for word in (flag, str(value))]
    given = received(monkeypatch, command, *words, "--no-compile", "--out", "here", "--resume", "never", "--set", "a.b=1")
    expected = dict(TYPED.values()) | {"compile": False}
    assert given[:5] == (None, {"training": expected}, ["a.b=1"], Path("here"), "never")


@pytest.mark.parametrize("command", ["train-vqvae", "train", "train-prior", "pretrain"])
def test_what_is_not_typed_is_left_to_the_configuration(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    assert received(monkeypatch, command)[:5] == (None, {}, [], None, "auto")


def test_the_options_of_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = ("--mask-max", "0.5", "--mask-warmup", "2", "--mask-keep", "one")
    flags = received(monkeypatch, "train-vqvae", "--model", "vqvae2", "--data", "mnist", *masks)[1]
    masking = {"max_probability": 0.5, "warmup_epochs": 2.0, "keep": "one"}
    assert flags == {"model": {"name": "vqvae2"}, "data": {"name": "mnist"}, "masking": masking}


@pytest.mark.parametrize(("typed", "told"), [("metadata, observed", ["metadata", "observed"]), ("none", [])])
def test_the_options_of_a_prior(monkeypatch: pytest.MonkeyPatch, typed: str, told: list[str]) -> None:
    words = ("--tokenizer", "runs/a", "--prior", "transformer", "--condition-on", typed, "--data", "mnist", "--sample-every", "2")
    given = received(monkeypatch, "train-prior", *words)
    assert given[5] is PriorRunConfig
    assert given[1] == {
        "prior": {"name": "transformer"},
        "tokenizer": {"run": "runs/a"},
        "data": {"name": "mnist"},
        "conditioning": {"condition_on": told},
        "training": {"picture_every": 2},
    }


def test_the_options_of_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    given = received(monkeypatch, "pretrain", "--method", "byol", "--model", "vae", "--data", "mnist")
    assert given[5] is PretrainingRunConfig
    assert given[1] == {"method": {"name": "byol"}, "model": {"name": "vae"}, "data": {"name": "mnist"}}
    flags = received(monkeypatch, "train-vqvae", "--init-encoder", "runs/a", "--freeze-encoder")[1]
    assert flags == {"encoder": {"start_from": "runs/a", "freeze": True}}
