"""A training in several passes over each batch is the training with whole batches: weights, codes, resets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from processes import start_group
from small_runs import TINY, tiny, tiny_prior
from vqkit.config import PriorRunConfig, RunConfig
from vqkit.errors import ConfigError
from vqkit.storage import runs
from vqkit.storage.checkpoints import load_model, load_prior
from vqkit.training.kinds import resolve
from vqkit.training.run import train
from vqkit.training.trainer import Trainer


def settings(quantizer: dict[str, Any], passes: int, model: str = "vqvae") -> dict[str, Any]:
    """A tiny run with this quantizer."""
    chosen = {**TINY["model"], "name": model, "quantizer": quantizer}
    return {**tiny(accumulate=passes, steps=12), "model": chosen}


QUANTIZERS = {
    "ema": {"name": "ema", "num_codes": 16, "dim": 8, "reset_every": 3},
    "gradient": {"name": "gradient", "num_codes": 16, "dim": 8, "reset_every": 3},
    "simvq": {"name": "simvq", "num_codes": 16, "dim": 8},
    "residual": {"name": "residual", "num_quantizers": 2, "inner": {"name": "ema", "num_codes": 16, "dim": 8}},
    "fsq": {"name": "fsq"},
}


def check_equal(run: Path, whole: Path, step: int) -> None:
    one, other = (load_model(runs.checkpoint_directory(each, step)).model.state_dict() for each in (run, whole))
    for name, value in other.items():
        if value.is_floating_point():
            torch.testing.assert_close(one[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", QUANTIZERS)
def test_passes_are_the_whole_batch(tmp_path: Path, name: str) -> None:
    for passes in (1, 4):
        train(None, settings(QUANTIZERS[name], passes), [], tmp_path / str(passes), "auto")
    check_equal(tmp_path / "4", tmp_path / "1", 12)


def test_codebooks_of_several_levels_are_initialised_one_after_the_other(tmp_path: Path) -> None:
    for passes in (1, 2):
        train(None, settings(QUANTIZERS["ema"], passes, "vqvae2"), [], tmp_path / str(passes), "auto")
    check_equal(tmp_path / "2", tmp_path / "1", 12)


PRIORS: dict[str, dict[str, Any]] = {
    "pixelcnn": {"channels": 16, "layers": 3},
    "masked": {"width": 32, "layers": 2, "head_width": 16},
}


def prior_settings(tokenizer: Path, name: str, passes: int = 1) -> dict[str, Any]:
    """A tiny run of this prior."""
    return {**tiny_prior(tokenizer, "metadata", accumulate=passes, steps=6), "prior": {"name": name, **PRIORS[name]}}


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_in_passes(tiny_run: Path, tmp_path: Path, name: str) -> None:
    for passes in (1, 4):
        config = prior_settings(tiny_run, name, passes)
        train(None, config, [], tmp_path / str(passes), "auto", PriorRunConfig)
    four, one = (load_prior(runs.checkpoint_directory(tmp_path / name, 6)).prior.state_dict() for name in ("4", "1"))
    for name, value in one.items():
        torch.testing.assert_close(four[name], value, rtol=1e-3, atol=1e-4)


def masked_prior(rank: int, folder: str) -> None:
    tokenizer = Path((Path(folder) / "tokenizer").read_text())
    train(None, prior_settings(tokenizer, "masked"), [], Path(folder) / "run", "auto", PriorRunConfig)


def test_a_masked_prior_learns_the_same_orders_in_two_processes(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer").write_text(str(tiny_run))
    start_group(masked_prior, tmp_path)
    train(None, prior_settings(tiny_run, "masked"), [], tmp_path / "one", "auto", PriorRunConfig)
    two, one = (load_prior(runs.checkpoint_directory(tmp_path / name, 6)).prior.state_dict() for name in ("run", "one"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4)


def in_two(rank: int, folder: str) -> None:
    train(None, settings(QUANTIZERS["ema"], 2), [], Path(folder) / "run", "auto")


def test_processes_and_passes_together(tmp_path: Path) -> None:
    start_group(in_two, tmp_path)
    train(None, settings(QUANTIZERS["ema"], 1), [], tmp_path / "whole", "auto")
    check_equal(tmp_path / "run", tmp_path / "whole", 12)


TWICE = {**TINY["training"], "accumulate": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"training": {**TWICE, "accumulate": 3}}, "cannot be done in 3 equal parts.*--batch-size 18"),
        ({"training": TWICE, "loss": {"adversarial": 0.1}}, "balanced over a batch"),
        ({"training": TWICE, "model": {"name": "treevi", "hidden": 16, "inner": 8}}, "compares all images of a batch"),
        ({"training": TWICE, "model": {**TINY["model"], "quantizer": {"name": "lfq"}}}, "entropy loss of lfq"),
    ],
)
def test_what_cannot_be_done_in_parts_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    config = resolve(RunConfig.model_validate({**TINY, **change}))
    with pytest.raises(ConfigError, match=message):
        Trainer.from_config(config, tmp_path / "run", resume=False)
