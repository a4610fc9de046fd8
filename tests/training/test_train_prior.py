"""Training of priors: reproducible, exactly resumable, on codes that are kept, beside a tokenizer that does not move."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from processes import start_group
from small_runs import tiny, tiny_prior
from vqkit.config import PriorRunConfig
from vqkit.data.opening import open_dataset
from vqkit.errors import CheckpointError, ConfigError, DataError, Interrupted
from vqkit.inference.pipeline import load
from vqkit.interfaces import fully_observed
from vqkit.storage import runs
from vqkit.storage.checkpoints import digest, load_model, load_prior, write_prior
from vqkit.training.code_cache import coded_split
from vqkit.training.kinds import resolve
from vqkit.training.run import train
from vqkit.training.tasks.prior import PriorTask
from vqkit.training.trainer import Trainer


def train_prior(settings: dict[str, Any], run: Path, resume: str = "auto") -> None:
    train(None, settings, [], run, resume, PriorRunConfig)


def final_model(run: Path) -> bytes:
    return (runs.checkpoint_directory(run, 20) / "model.safetensors").read_bytes()


def rows(run: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in read]


def test_a_run_leaves_what_it_should(tiny_run: Path, tiny_prior_run: Path) -> None:
    config = yaml.safe_load((tiny_prior_run / "run.yaml").read_text())
    assert config["prior"]["kernel"] == 3  # defaults are filled in
    assert config["data"]["name"] == "tyre"
    assert config["data"]["num_train"] == 96  # the tokenizer's
    assert config["tokenizer"]["digest"] == load_model(tiny_run).digest
    images = {path.name for path in (tiny_prior_run / "images").iterdir()}
    assert {"epoch_0001_samples.png", "epoch_0001_conditional.png", "epoch_0004_samples.png"} <= images
    row = next(row for row in rows(tiny_prior_run) if "val/nll" in row)
    assert row["val/bits_per_image"] == pytest.approx(row["val/nll"] * 128 / math.log(2), rel=1e-4)
    assert row["val/uniform_nats"] == pytest.approx(math.log(32), rel=1e-4)
    assert 0 < row["val/unigram_nll"] < row["val/uniform_nats"] + 0.1


def test_it_learns(tiny_prior_run: Path) -> None:
    figures = [row["val/nll"] for row in rows(tiny_prior_run) if "val/nll" in row]
    assert figures[-1] < 0.8 * figures[0]


def test_ten_steps_and_ten_more_equal_twenty(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dropout, whose draws must not depend on where the run was cut."""
    settings = tiny_prior(tiny_run, "observed", "metadata")
    settings["prior"] = {**settings["prior"], "dropout": 0.2}
    train_prior(settings, tmp_path / "straight")
    step = Trainer._train_step

    def stop(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        self._stop_requested = self.step == 10

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop)
        with pytest.raises(Interrupted, match="vqkit train-prior --resume"):
            train_prior(settings, tmp_path / "parts")
    train(None, {}, [], None, str(tmp_path / "parts"), PriorRunConfig)
    assert final_model(tmp_path / "parts") == final_model(tmp_path / "straight")
    assert rows(tmp_path / "parts") == rows(tmp_path / "straight")


def train_one_of_two(_: int, folder: str) -> None:
    train_prior(tiny_prior(Path(folder, "tokenizer"), "metadata"), Path(folder, "two"))


def test_two_processes_equal_one(tiny_run: Path, tiny_prior_run: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "tokenizer"  # without codes that are kept, so that they are computed by two processes
    shutil.copytree(tiny_run, fresh, ignore=shutil.ignore_patterns("codes"))
    start_group(train_one_of_two, tmp_path)
    alone, both = (load_prior(run).prior.state_dict() for run in (tiny_prior_run, tmp_path / "two"))
    for name, value in alone.items():
        torch.testing.assert_close(both[name], value, rtol=1e-2, atol=1e-3)
    losses = [[row["val/loss"] for row in rows(run) if "val/loss" in row] for run in (tiny_prior_run, tmp_path / "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_the_tokenizer_does_not_move(tiny_run: Path, tmp_path: Path) -> None:
    trainer = Trainer.from_config(config(tiny_run), tmp_path / "run", resume=False)
    assert isinstance(trainer.task, PriorTask)
    tokenizer = trainer.task.loaded
    before = digest(tokenizer.model.state_dict())
    trainer.fit()
    assert digest(tokenizer.model.state_dict()) == before == tokenizer.digest
    assert not tokenizer.model.training
    optimized = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert not optimized & {id(p) for p in tokenizer.model.parameters()}
    with torch.no_grad():
        next(tokenizer.model.parameters()).add_(1)
    with pytest.raises(CheckpointError, match="has changed since it was loaded"):
        write_prior(tmp_path / "model.safetensors", trainer.task.model, tokenizer.data, tokenizer)


def config(tokenizer: Path, *told: str) -> PriorRunConfig:
    return resolve(PriorRunConfig.model_validate(tiny_prior(tokenizer, *told)))


def test_codes_are_computed_once_and_are_those_of_the_tokenizer(tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config(tiny_run)
    pipeline = load(tiny_run)
    images = open_dataset(settings.data).split("val")
    split = coded_split(pipeline, images, settings.data, "val", with_images=True)
    monkeypatch.setattr("vqkit.training.code_cache._compute", lambda *arguments: pytest.fail("encoded again"))
    again = coded_split(pipeline, images, settings.data, "val", with_images=False)
    indices = torch.tensor([3, 0, 11])
    batch = split.batch(indices)
    expected = pipeline.encode_batch(images.batch(indices).images, fully_observed(batch.images))
    assert torch.equal(batch.codes[0], expected[0])
    assert torch.equal(again.batch(indices).codes[0], expected[0])
    assert torch.equal(batch.conditions, images.batch(indices).conditions)
    assert again.batch(indices).images.shape == (3, 0, 0, 0)
    assert split.names(indices) == images.names(indices)


def test_kept_codes_of_other_pictures_by_the_same_names_are_not_believed(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_run, tmp_path / "tokenizer")
    pipeline, settings = load(tmp_path / "tokenizer"), config(tiny_run)
    images = open_dataset(settings.data).split("val")
    first = coded_split(pipeline, images, settings.data, "val", with_images=False)
    batch = type(images).batch
    upside_down = lambda self, indices: (found := batch(self, indices))._replace(images=found.images.flip(2))  # noqa: E731
    monkeypatch.setattr(type(images), "batch", upside_down)
    assert not torch.equal(coded_split(pipeline, images, settings.data, "val", with_images=False).codes[0], first.codes[0])


@pytest.mark.parametrize(
    ("told", "message"),
    [(("class",), "has no classes to train with"), (("metadata", "nonsense"), "conditioning.condition_on")],
)
def test_conditions_that_the_data_do_not_have_are_refused(
    tiny_run: Path, tmp_path: Path, told: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_prior(tiny_prior(tiny_run, *told), tmp_path / "run")


def test_a_changed_tokenizer_is_refused_when_a_run_goes_on(tiny_run: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_run, tmp_path / "tokenizer")
    train_prior(tiny_prior(tmp_path / "tokenizer"), tmp_path / "run")
    train(None, tiny(steps=10), [], tmp_path / "other", "auto")
    path = Path(yaml.safe_load((tmp_path / "run/run.yaml").read_text())["tokenizer"]["run"])
    shutil.copy(runs.locate(tmp_path / "other"), path)
    with pytest.raises(CheckpointError, match=r"The tokenizer .* has changed: it was"):
        train(None, {"training": {"steps": 30}}, [], None, str(tmp_path / "run"), PriorRunConfig)


def test_another_tokenizer_does_not_go_on_with_a_run(tiny_run: Path, tiny_prior_run: Path, tmp_path: Path) -> None:
    train(None, tiny(steps=10), [], tmp_path / "other", "auto")
    with pytest.raises(ConfigError, match=r"trained with tokenizer\.digest"):
        train_prior(tiny_prior(tmp_path / "other", "metadata"), tiny_prior_run)


def test_a_run_goes_on_by_the_command_that_began_it(tiny_run: Path, tiny_prior_run: Path) -> None:
    with pytest.raises(ConfigError, match="is not a run of train-vqvae") as error:
        train(None, {}, [], None, str(tiny_prior_run))
    assert "vqkit train-prior --resume" in error.value.hint
    with pytest.raises(ConfigError, match="is not a run of train-prior"):
        train(None, {}, [], None, str(tiny_run), PriorRunConfig)
    with pytest.raises(ConfigError, match="holds a run of train-prior"):
        train(None, tiny(), [], tiny_prior_run, "auto")


def test_data_of_another_size_are_refused(tiny_run: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", np.zeros((8, 1, 8, 8), dtype=np.uint8))
    settings = {**tiny_prior(tiny_run), "data": {"name": str(tmp_path / "small.npy")}}
    with pytest.raises(DataError, match="the model was trained on 5 binary components"):
        train_prior(settings, tmp_path / "run")


def test_an_overfitting_prior_is_reported_once(tiny_run: Path, tmp_path: Path) -> None:
    task = Trainer.from_config(config(tiny_run), tmp_path / "run", resume=False).task
    assert task.epoch_message({"val/loss": 2.0, "train/loss": 1.9}, best=float("inf")) is None
    assert task.epoch_message({"val/loss": 2.01, "train/loss": 1.5}, best=2.0) is None
    assert "overfits: 2.200 nats per code on validation images, 2.000 at best" in str(
        task.epoch_message({"val/loss": 2.2, "train/loss": 1.2}, best=2.0)
    )
    assert task.epoch_message({"val/loss": 2.3, "train/loss": 1.1}, best=2.0) is None


def test_what_is_hidden_from_a_completing_prior_changes_with_the_step(tiny_run: Path, tmp_path: Path) -> None:
    trainer = Trainer.from_config(config(tiny_run, "observed"), tmp_path / "run", resume=False)
    shown: list[torch.Tensor] = []
    conditioning = trainer.task._conditioning  # type: ignore[attr-defined]

    def spy(batch: Any, observed: torch.Tensor) -> Any:
        shown.append(observed)
        return conditioning(batch, observed)

    trainer.task._conditioning = spy  # type: ignore[attr-defined]
    trainer.fit()
    training = shown[:6]
    assert not torch.equal(training[0], training[1])
    kept = torch.cat(training).flatten(2)
    assert bool((kept.all(dim=2) == kept.any(dim=2)).all())  # whole components
    assert bool((~kept.all(dim=2)).any(dim=1).all())  # always something missing
    assert set(kept.all(dim=2).sum(dim=1).tolist()) == {1, 2, 3, 4}
