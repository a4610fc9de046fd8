"""`pretrain` from the command line to the file, and models that start from what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor

from small_runs import TINY, tiny
from vqkit.cli.app import app
from vqkit.config import PretrainingRunConfig
from vqkit.errors import CheckpointError, ConfigError, DataError, Interrupted, RegistryError
from vqkit.storage import runs
from vqkit.storage.checkpoints import load_encoder, load_model, read_header
from vqkit.training.run import train
from vqkit.training.trainer import Trainer

HEADS = {"hidden": 16, "dim": 8}


def settings(name: str = "byol", **training: Any) -> dict[str, Any]:
    """A run of a second: 6 steps an epoch, 20 steps."""
    return {
        "method": {"name": name, **HEADS},
        "model": TINY["model"],
        "data": TINY["data"],
        "training": {**TINY["training"], **training},
    }


def pretrain(configuration: dict[str, Any], run: Path) -> Path:
    train(None, configuration, [], run, "auto", PretrainingRunConfig)
    return run


@pytest.fixture(scope="module")
def encoder_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of BYOL; do not change it."""
    return pretrain(settings(), tmp_path_factory.mktemp("pretraining") / "byol")


def starting(run: Path, freeze: bool = False, **training: Any) -> dict[str, Any]:
    """A VQ-VAE of two steps that starts from a run."""
    return {**tiny(steps=2, warmup_steps=0, **training), "encoder": {"start_from": str(run), "freeze": freeze}}


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(runs.locate(run))


def rows(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "images_per_second"} for row in found]


@pytest.mark.parametrize("name", ["barlow-twins", "simclr", "byol"])
def test_every_method_runs_from_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"model": {"hidden": 16, "inner": 8}, "data": {"num_train": 40, "num_val": 8}, "training": {"log_every": 1}}
    assignments = [f"{group}.{key}={value}" for group, values in small.items() for key, value in values.items()]
    words = ["pretrain", "--method", name, "--data", "tyre", "--steps", "2", "--batch-size", "16", "--device", "cpu"]
    with pytest.raises(SystemExit) as done:
        app([*words, *(word for each in assignments for word in ("--set", each))], prog_name="vqkit")
    assert done.value.code == 0
    run = Path(f"runs/{name}-tyre-001")
    said = capsys.readouterr().err
    assert f"Training {name} " in said and f"vqkit train-vqvae --model vqvae --data tyre --init-encoder {run}" in said
    assert yaml.safe_load((run / "run.yaml").read_text())["method"]["name"] == name
    last = rows(run)[-1]
    assert {"train/loss", "val/agreement", "val/feature_std", "val/r2", "val/r2_width_px", "val/r2_height_px"} <= last.keys()
    assert -1 <= last["val/agreement"] <= 1 and 0 <= last["val/feature_std"] <= 1
    pictures = {path.name for path in (run / "images").iterdir()}
    assert {"epoch_0001_orig.png", "epoch_0001_view_1.png", "epoch_0001_view_2.png"} <= pictures
    assert (run / "embedding.png").is_file()
    assert read_header(runs.locate(run))["kind"] == "encoder"


def test_a_run_is_a_function_of_its_seed(encoder_run: Path, tmp_path: Path) -> None:
    again = pretrain(settings(), tmp_path / "again")
    other = pretrain(settings(seed=1), tmp_path / "other")
    assert runs.locate(again).read_bytes() == runs.locate(encoder_run).read_bytes()
    assert runs.locate(other).read_bytes() != runs.locate(encoder_run).read_bytes()


def test_an_interrupted_run_ends_as_it_would_have(encoder_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, step = tmp_path / "parts", Trainer._train_step

    def stop(self: Trainer, *arguments: Any) -> None:
        step(self, *arguments)
        self._stop_requested = self.step == 9

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", stop)
        with pytest.raises(Interrupted, match=r"vqkit pretrain --resume"):
            pretrain(settings(), run)
    train(None, {}, [], None, str(run), PretrainingRunConfig)
    last = runs.checkpoint_directory(run, 20), runs.checkpoint_directory(encoder_run, 20)
    for name in ("model.safetensors", "training.safetensors"):  # the second holds BYOL's target
        assert (last[0] / name).read_bytes() == (last[1] / name).read_bytes()
    assert any(name.startswith("task.method.target_encoder.") for name in load_file(last[0] / "training.safetensors"))
    assert rows(run) == rows(encoder_run)


def test_classes_are_probed(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    for name in ("bright", "dark"):
        for number in range(24):
            from PIL import Image

            level = 170 if name == "bright" else 40
            pixels = level + torch.randint(60, (16, 16, 3), generator=generator)
            path = tmp_path / "pictures" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.to(torch.uint8).numpy()).save(path)
    data = {"name": str(tmp_path / "pictures"), "height": 16, "width": 16, "validation_share": 0.25}
    configuration = {**settings("simclr", steps=4, batch_size=8), "data": data, "views": {"jitter": 0.1}}
    last = rows(pretrain(configuration, tmp_path / "run"))[-1]
    assert last["val/neighbour_accuracy"] == 1 and last["val/linear_accuracy"] == 1
    assert "val/r2" not in last


def test_a_model_starts_with_the_very_weights(encoder_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_train_step", lambda self, *given: setattr(self, "step", self.step + 1))
    train(None, starting(encoder_run), [], tmp_path / "run", "auto")
    part, known = load_model(tmp_path / "run").model.encoder_part.state_dict(), weights(encoder_run)
    assert part.keys() == known.keys()
    assert all(torch.equal(part[name], known[name]) for name in known)
    config = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["encoder"]
    assert config["start_from"] == str(runs.locate(encoder_run)) and config["freeze"] is False
    assert config["digest"] == read_header(runs.locate(encoder_run))["digest"]


def test_an_encoder_that_saw_other_values_is_warned_of(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 4000, (40, 16, 16), generator=generator, dtype=torch.int32).to(torch.uint16).numpy()
    np.save(tmp_path / "pixels.npy", pixels)
    data = {"name": "arrays", "path": str(tmp_path / "pixels.npy")}
    encoder = pretrain({**settings(steps=2), "data": {**data, "range": [0, 4000]}}, tmp_path / "encoder")
    model = {**starting(encoder), "data": {**data, "range": [0, 1000]}}
    with pytest.warns(UserWarning, match="from 0 to 4000 .linear.; here it is from 0 to 1000"):
        train(None, model, [], tmp_path / "run", "auto")


def test_a_frozen_encoder_stays_and_the_rest_learns(encoder_run: Path, tmp_path: Path) -> None:
    known, before = weights(encoder_run), {}
    for freeze in (True, False):
        run = tmp_path / f"{freeze}"
        train(None, starting(encoder_run, freeze=freeze), [], run, "auto")
        part = load_model(run).model.encoder_part.state_dict()
        assert [torch.equal(part[name], known[name]) for name in known] == [freeze] * len(known)
        before[freeze] = weights(run)
    trained = load_file(runs.checkpoint_directory(tmp_path / "True", 2) / "training.safetensors")
    moments = sum(name.endswith(".exp_avg") for name in trained)
    assert moments == len(list(load_model(tmp_path / "True").model.parameters())) - len(known)
    random = tmp_path / "random"
    train(None, tiny(steps=2, warmup_steps=0), [], random, "auto")
    moved = [name for name, value in weights(random).items() if not torch.equal(value, before[True][name])]
    assert "encoder.project.weight" in moved and any(name.startswith("decoder.up") for name in moved)


def test_a_run_with_a_frozen_encoder_goes_on(encoder_run: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    configuration = starting(encoder_run, freeze=True, checkpoint_every=1)
    train(None, configuration, [], whole, "auto")
    train(None, configuration, [], parts, "auto")
    import shutil

    shutil.rmtree(runs.checkpoint_directory(parts, 2))
    train(None, {}, [], None, str(parts))
    assert runs.locate(parts).read_bytes() == runs.locate(whole).read_bytes()


def test_an_encoder_serves_other_models_and_autoencoders_give_theirs(encoder_run: Path, tmp_path: Path) -> None:
    vae = {"name": "vae", "hidden": 16, "inner": 16, "latent_dim": 4}
    train(None, {**starting(encoder_run, freeze=True), "model": vae}, [], tmp_path / "vae", "auto")
    train(None, starting(tmp_path / "vae", freeze=True), [], tmp_path / "vqvae", "auto")
    known = load_encoder(encoder_run).part.state_dict()
    part = load_model(tmp_path / "vqvae").model.encoder_part.state_dict()
    assert all(torch.equal(part[name], known[name]) for name in known)


def test_the_newest_model_is_never_an_encoder(encoder_run: Path, tiny_run: Path, tmp_path: Path) -> None:
    for source in (tiny_run, encoder_run):
        (tmp_path / source.name).symlink_to(source)
    for newest in ("tiny", "byol"):
        runs.write_pointer(tmp_path / "latest", newest)
        assert runs.locate(None, root=tmp_path).is_relative_to(tmp_path / "tiny")
    with pytest.raises(CheckpointError, match="holds an encoder, not a model"):
        load_model(encoder_run)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden": 24}, "that training starts from has hidden = 16, not 24"),
        ({"attention": False}, "that training starts from has attention = True, not False"),
        ({"stride": 8}, "that training starts from has stride = 4, not 8"),
        ({"name": "vqvae2"}, "that training starts from has levels = 1, not 2"),
    ],
)
def test_another_encoder_is_refused(encoder_run: Path, tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(None, {**starting(encoder_run), "model": {**TINY["model"], **changed}}, [], tmp_path / "run", "auto")


def test_other_images_are_refused(encoder_run: Path, tmp_path: Path) -> None:
    torch_images = (torch.rand(8, 3, 64, 32, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    import numpy as np

    np.save(tmp_path / "images.npy", torch_images.numpy())
    data = {"name": str(tmp_path / "images.npy")}
    with pytest.raises(DataError, match="the model was trained on 5 binary components"):
        train(None, {**starting(encoder_run, batch_size=2), "data": data}, [], tmp_path / "run", "auto")


def test_an_encoder_that_has_changed_is_refused(encoder_run: Path, tmp_path: Path) -> None:
    configuration = starting(encoder_run)
    configuration["encoder"]["digest"] = "0" * 64
    with pytest.raises(CheckpointError, match=r"The encoder .* has changed: it was 000000000000 and is"):
        train(None, configuration, [], tmp_path / "run", "auto")


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says to a mistake."""
    from vqkit.cli.app import main

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr("sys.argv", ["vqkit", *words])
        main()
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_mistakes_are_answered(
    encoder_run: Path, tiny_prior_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--set", "data.num_train=8", "--set", "data.num_val=2", "--steps", "1"]
    answers = {
        ("pretrain", "--method", "moco"): "There is no method named 'moco'.",
        ("pretrain", *small, "--batch-size", "16"): "The batch size 16 is larger than the training set of 8 images.",
        (
            "pretrain",
            *small,
            "--batch-size",
            "1",
        ): "In the configuration, training.batch_size: input should be greater than or equal",
        ("train-vqvae", *small, "--freeze-encoder"): "--freeze-encoder needs trained weights, but no encoder is given",
        ("train-vqvae", *small, "--init-encoder", str(tiny_prior_run)): "holds no encoder.",
        ("train-vqvae", *small, "--init-encoder", "nowhere"): "There is no run at nowhere.",
        ("train-vqvae", "--resume", str(encoder_run)): "is not a run of train-vqvae.",
        ("evaluate", "--run", str(encoder_run)): "holds an encoder, not a model.",
        ("train-prior", "--tokenizer", str(encoder_run)): "holds no model with codes.",
        ("doctor", "--run", str(encoder_run)): "holds encoder, not a model or a prior.",
    }
    for words, answer in answers.items():
        said = refused(list(words), capsys)
        assert answer in said and "Hint: " in said, words
    with pytest.raises(RegistryError):
        pretrain(settings("moco"), tmp_path / "run")
