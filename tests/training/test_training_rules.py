"""Rules of training that no loss shows when they are broken: each has a test of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from small_runs import TINY, tiny, tiny_prior
from vqkit.config import MaskingConfig, PriorRunConfig, RunConfig
from vqkit.interfaces import Batch, DataSpec
from vqkit.interfaces.tasks import TrainingState
from vqkit.registry import MODELS
from vqkit.storage import runs
from vqkit.training.kinds import resolve
from vqkit.training.optimization import ModelEMA
from vqkit.training.run import train
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.masks import fixed_observed
from vqkit.training.tasks.prior import PriorTask
from vqkit.training.trainer import Trainer


def one_step_epochs(epochs: int, **training: Any) -> dict[str, Any]:
    """A run whose epochs have one step each."""
    return {**tiny(steps=epochs, warmup_steps=0, **training), "data": {**TINY["data"], "num_train": 16}}


def test_the_best_checkpoint_has_the_lowest_validation_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 1.0, 4.0, 2.0])
    monkeypatch.setattr(AutoencoderTask, "validation_row", lambda self, sums: {"loss": next(losses)})
    train(None, one_step_epochs(4), [], tmp_path / "run", "auto")
    assert str(runs.read_pointer(tmp_path / "run" / "best")).endswith("step-00000002")
    assert str(runs.read_pointer(tmp_path / "run" / "latest")).endswith("step-00000004")


def test_the_decay_of_the_weight_ema_is_the_share_of_the_old_mean() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    ema = ModelEMA(model, decay=0.9)
    model.weight.data.fill_(1.0)
    ema.update(1000)
    assert float(ema.average["weight"]) == pytest.approx(0.1)
    ema.update(1000)
    assert float(ema.average["weight"]) == pytest.approx(0.19)


def test_early_steps_of_the_weight_ema_keep_less_of_the_old_mean() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    ema = ModelEMA(model, decay=0.9)
    model.weight.data.fill_(1.0)
    ema.update(1)  # decay (1 + 1) / (10 + 1)
    assert float(ema.average["weight"]) == pytest.approx(9 / 11)


def test_validation_uses_the_ema_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those that a checkpoint of the same step stores for inference."""
    validated: list[dict[str, Tensor]] = []
    validate = AutoencoderTask.validate

    def keep(self: AutoencoderTask, batch: Batch, first: int) -> dict[str, Tensor]:
        validated.append({name: weight.detach().clone() for name, weight in self.model.named_parameters()})
        return validate(self, batch, first)

    monkeypatch.setattr(AutoencoderTask, "validate", keep)
    config = resolve(RunConfig.model_validate(one_step_epochs(2, weight_ema=0.9)))
    trainer = Trainer.from_config(config, tmp_path / "run", resume=False)
    trainer.fit()
    stored = load_file(runs.checkpoint_directory(tmp_path / "run", 2) / runs.MODEL_FILE)
    trained = dict(trainer.task.model.named_parameters())
    assert all(torch.equal(weight, stored[name]) for name, weight in validated[-1].items())
    assert any(not torch.equal(weight, trained[name]) for name, weight in validated[-1].items())


def test_masked_metrics_are_those_of_the_hidden_part() -> None:
    """A prediction that is right where the image is observed and wrong where it is hidden gets everything wrong."""
    spec = DataSpec.uniform("toy", ("a", "b", "c"), 16, 8, "binary")
    torch.manual_seed(0)
    options = {name: value for name, value in TINY["model"].items() if name != "name"}
    task = AutoencoderTask(MODELS.build("vqvae", options, spec), MaskingConfig(kind="boxes"), seed=0).eval()
    images = torch.rand(8, 3, 16, 8, generator=torch.Generator().manual_seed(0)).round()
    batch = Batch(images, torch.zeros(8, 0), torch.full((8,), -1))
    observed = fixed_observed(batch, task.masking, 0, 4)
    task.model.mean = lambda logits: torch.where(observed, images, 1 - images)  # type: ignore[method-assign]
    with torch.no_grad():
        sums = task.validate(batch, 4)
    row = task.validation_row({name: float(value) for name, value in sums.items()})
    assert (row["mse_masked"], row["psnr_masked"], row["iou_masked"]) == (1, 0, 0)
    assert row["mse"] == pytest.approx(float((~observed).double().mean()))


def test_dropout_of_a_prior_changes_with_the_step(tiny_run: Path, tmp_path: Path) -> None:
    settings = tiny_prior(tiny_run)
    settings |= {"prior": {**settings["prior"], "dropout": 0.5}, "conditioning": {"condition_on": [], "drop": 0}}
    config = resolve(PriorRunConfig.model_validate(settings))
    trainer = Trainer.from_config(config, tmp_path / "run", resume=False)
    assert isinstance(trainer.task, PriorTask)
    for parameter in trainer.task.model.parameters():  # layers that start at zero would hide the dropout before them
        nn.init.normal_(parameter, std=0.3)
    batch = next(iter(trainer.loader.epoch(0)))
    first, other, again = (float(trainer.task.train()(batch, TrainingState(step, 0.0)).loss.detach()) for step in (3, 4, 3))
    assert first == again
    assert first != other
