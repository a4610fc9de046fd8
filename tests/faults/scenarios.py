"""Commands that are disturbed, each a few seconds long, and the files that they start from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from command_runner import command_runner
from small_runs import TINY, TINY_PRIOR
from vqkit.cli.app import app

MODEL, PRIOR = "given/model", "given/prior"
_DATA = {"name": "tyre", "num_train": 48, "num_val": 16, "num_test": 16}
_TRAINING = {**TINY["training"], "steps": 12, "log_every": 3, "checkpoint_every": 4, "keep_checkpoints": 2}
_SMALL = ("tyre", *(part for name in ("train", "val", "test") for part in ("--set", f"data.num_{name}={_DATA[f'num_{name}']}")))


class Scenario(NamedTuple):
    """A command. `is_run`: it writes a run directory, which has one owner. `processes`: it starts others, which may outlive it."""

    name: str
    command: tuple[str, ...]
    is_run: bool = False
    processes: bool = False


SCENARIOS = (
    Scenario("train", ("train", "--config", "given/model.yaml", "--out", "runs/a"), is_run=True),
    Scenario("train-prior", ("train-prior", "--config", "given/prior.yaml", "--tokenizer", MODEL, "--out", "runs/b"), is_run=True),
    Scenario("pretrain", ("pretrain", "--config", "given/encoder.yaml", "--out", "runs/c"), is_run=True),
    Scenario(
        "encode", ("encode", "--data", "given/set.safetensors", "--split", "train", "--run", MODEL, "--out", "codes.safetensors")
    ),
    Scenario("data prepare", ("data", "prepare", *_SMALL, "--out", "packed.safetensors")),
    Scenario("inpaint", ("inpaint", "given/sections/group_nc", "--run", MODEL, "--keep", "group_nc", "--out", "filled")),
    Scenario("compress", ("compress", "given/sections", "--run", PRIOR, "--out", "images.vqk")),
    Scenario("reproduce", ("reproduce", "--preset", "given/preset.yaml", "--out", "report", "--jobs", "1"), processes=True),
)


def make_given_files(box: Path) -> None:
    """Write what the commands start from, below `given` in the directory."""
    given = box / "given"
    given.mkdir(parents=True)
    model = {**TINY, "data": _DATA, "training": _TRAINING}
    _write(given / "model.yaml", {"kind": "model", **model})
    _write(given / "prior.yaml", {"kind": "prior", **TINY_PRIOR, "training": {**_TRAINING, "learning_rate": 1e-2}})
    encoder = {
        "kind": "encoder",
        "model": model["model"],
        "data": _DATA,
        "training": {**_TRAINING, "steps": 6, "checkpoint_every": 2},
    }
    _write(given / "encoder.yaml", encoder)
    _write(given / "preset.yaml", _preset())
    run = _runner(box)
    run("train", "--config", "given/model.yaml", "--out", MODEL)
    run("train-prior", "--config", "given/prior.yaml", "--tokenizer", MODEL, "--out", PRIOR)
    run("data", "export", *_SMALL, "--split", "test", "--num", "16", "--out", "given/sections")
    run("data", "prepare", *_SMALL, "--out", "given/set.safetensors")


def _preset() -> dict[str, Any]:
    """A comparison of two tiny models."""
    network = {"hidden": 16, "inner": 16}
    return {
        "summary": "Two tiny models.",
        "seeds": [0],
        "run": {"training": {**_TRAINING, "workers": 0}, "data": {**_DATA, "num_train": 96}, "masking": {"warmup_epochs": 0}},
        "network": network,
        "models": {"vqvae": {"quantizer": {"name": "ema", "num_codes": 32}}, "autoencoder": {}},
        "test_images": 8,
        "bound_images": 2,
        "bound_samples": 2,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def _runner(box: Path) -> Callable[..., None]:
    """A function that runs a command of vqkit in the directory, which must succeed."""

    def run(*arguments: str) -> None:
        os.chdir(box)
        done = command_runner().invoke(app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output

    return run
