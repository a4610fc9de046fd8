"""Models with a continuous bottleneck from the command line to the file and back: trained, loaded, filled in, evaluated, drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

import vqkit
from command_runner import command_runner
from small_runs import TINY, tiny
from vqkit.cli.sample import sample
from vqkit.errors import ConfigError
from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.storage.checkpoints import load_model
from vqkit.training.run import train

app = typer.Typer()
app.command("sample")(sample)
MODEL = {"hidden": 16, "inner": 8, "latent_dim": 4}


def configuration(name: str, **training: Any) -> dict[str, Any]:
    return {**tiny(**training), "model": {"name": name, **MODEL}}


def short(name: str) -> dict[str, Any]:
    """Two steps, of 16 images and of 4."""
    return {**configuration(name, steps=2), "data": {**TINY["data"], "num_train": 20, "num_val": 2}}


@pytest.fixture(scope="module")
def vae_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("latent") / "vae"
    train(None, configuration("vae"), [], run, "auto")
    return run


def sampled(*words: object) -> list[str]:
    """What `vqkit sample` says, line by line."""
    result = command_runner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout.splitlines()


def test_a_run_learns_and_records_its_losses(vae_run: Path) -> None:
    rows = [json.loads(line) for line in (vae_run / "metrics.jsonl").read_text().splitlines()]
    trained = [row for row in rows if "train/kl" in row]
    assert {"train/recon", "train/kl", "train/kl_nats", "train/active", "train/loss"} <= trained[0].keys()
    assert trained[-1]["train/recon"] < 0.9 * trained[0]["train/recon"]
    assert trained[-1]["train/loss"] == pytest.approx(trained[-1]["train/recon"] + trained[-1]["train/kl"], rel=1e-4)


@pytest.mark.parametrize("name", ["autoencoder", "beta-vae", "auxiliary-vae", "vae-gan", "adversarial-vae"])
def test_every_model_trains_and_comes_back(name: str, tmp_path: Path) -> None:
    train(None, short(name), [], tmp_path / "run", "auto")
    loaded = load_model(tmp_path / "run")
    assert loaded.header["name"] == name and loaded.header["code_shapes"] == []
    assert loaded.model.options.model_dump()["latent_dim"] == 4


def test_a_run_gives_the_same_bytes_again(tmp_path: Path) -> None:
    for run in ("first", "second"):
        train(None, short("treevi"), [], tmp_path / run, "auto")
    assert load_model(tmp_path / "first").digest == load_model(tmp_path / "second").digest


def test_a_run_fills_in_in_python(vae_run: Path) -> None:
    model = vqkit.load(vae_run, device="cpu", precision="fp32")
    spec = model.spec
    image = torch.rand(len(spec.components), spec.height, spec.width, generator=torch.Generator().manual_seed(0)).round()
    filled = model.inpaint(image, keep=[spec.components[0]])
    assert torch.equal(filled[0], image[0])
    assert torch.equal(filled, model.inpaint(image, keep=[spec.components[0]]))
    assert not torch.equal(filled[1:], image[1:])
    assert model.inpaint(image, keep=[spec.components[0]], conditions={spec.condition_names[0]: 40}).shape == image.shape
    with pytest.raises(vqkit.VQKitError, match="has no codes"):
        model.encode(image)


def test_a_run_is_evaluated(vae_run: Path) -> None:
    found = evaluate(vae_run, EvaluationRequest(limit=2, keep_sets=[["group_nc"]], mask_kind="none"))
    assert found.model == "vae" and found.levels == ()
    assert 0 < found.full.mse < 1 and all(0 < part.mse < 1 for part in found.parts)


def test_a_run_is_sampled(vae_run: Path, tmp_path: Path) -> None:
    how = ("--run", vae_run, "-n", 3, "--device", "cpu", "--seed", 2)
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert sampled(*how, "--temperature", 0.8, "--out", first)[1:] == [
        "with the conditions of the test set of tyre",
        f"drew 3 images, written to {first}/images/",
        f"look at {first}/grid.png",
    ]
    content = json.loads((first / "samples.json").read_text())
    assert content["sampling"] == {"temperature": 0.8, "seed": 2} and len(content["images"]) == 3
    assert content["model_digest"] == load_model(vae_run).digest
    sampled(*how, "--temperature", 0.8, "--out", second, "--batch-size", 2)
    assert sampled(*how, "--mode", "unconditional", "--out", third)[1] == "unconditional"
    pictures = [sorted((run / "images").rglob("*.png")) for run in (first, second, third)]
    assert [len(each) for each in pictures] == [18] * 3  # five components, and all of them in one picture
    assert [path.read_bytes() for path in pictures[0]] == [path.read_bytes() for path in pictures[1]]
    assert [path.read_bytes() for path in pictures[0]] != [path.read_bytes() for path in pictures[2]]
    assert (first / "grid.png").is_file()


def test_a_sweep_of_a_run(vae_run: Path, tmp_path: Path) -> None:
    lines = sampled("--run", vae_run, "--sweep", "width_px=44:56:3", "-n", 2, "-o", tmp_path / "new")
    assert lines[1] == f"drew 6 images, written to {tmp_path}/new/images/"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--top-k", 3], "has no codes, so top-k cannot be used"),
        (["--method", "naive"], "has no codes, so the method naive cannot be used"),
        (["--class", "cat"], "was not trained with classes"),
        (["--codes"], "--codes needs codes"),
        (["--tokenizer", "runs/other"], "--tokenizer needs codes"),
    ],
)
def test_options_of_codes_are_refused(vae_run: Path, tmp_path: Path, options: list[object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sampled("--run", vae_run, "--out", tmp_path / "new", *options)
    assert not (tmp_path / "new").exists()
