"""`vqkit score` as typed, and `vqkit evaluate --against`, on a tiny run and an untrained prior of its codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

from command_runner import command_runner
from painting import write_components
from vqkit.cli.evaluate import evaluate
from vqkit.cli.score import score
from vqkit.data.opening import open_dataset
from vqkit.errors import CheckpointError, ConfigError, DataError, VQKitError
from vqkit.evaluation import usual_images as module
from vqkit.evaluation.usual_images import usual_images
from vqkit.inference.conditioning import code_spec
from vqkit.inference.oddity_reference import REFERENCE_FILE
from vqkit.inference.sampler import load_sampler
from vqkit.registry import PRIORS
from vqkit.storage.checkpoints import load_model, write_prior

app = typer.Typer()
app.command("score")(score)
app.command("evaluate")(evaluate)


def run(*arguments: object) -> Any:
    result = command_runner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def new_prior(name: str, tiny_run: Path, folder: Path) -> Path:
    tokenizer = load_model(tiny_run)
    options: dict[str, dict[str, Any]] = {
        "pixelcnn": {"channels": 8, "layers": 1},
        "masked": {"width": 16, "layers": 2, "head_width": 8},
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PRIORS.build(name, options[name], code_spec(tokenizer.model, ()))
    write_prior(folder / name / "model.safetensors", prior, tokenizer.data, tokenizer)
    return folder / name


@pytest.fixture(scope="module")
def prior(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_prior("masked", tiny_run, tmp_path_factory.mktemp("priors"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two sections of the test set, one of them without its tread, and a file that is no image."""
    folder = tmp_path / "images"
    folder.mkdir()
    held = open_dataset("tyre").split("test").batch(torch.arange(2)).images.numpy()
    np.save(folder / "whole.npy", held[0])
    held[1, 4] = 0
    np.save(folder / "bare.npy", held[1])
    (folder / "notes.npy").write_text("no image")
    return folder


def test_images_are_scored_and_what_is_usual_is_measured_once(
    prior: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    result = run("score", images, "--run", prior, "--out", out)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"using {prior}/model.safetensors and its tokenizer ")
    assert [word for word in ("image", "combined", "bits/place", "typicality", "peak", "error") if word not in lines[1]] == []
    assert {lines[2].split()[0], lines[3].split()[0]} == {"bare", "whole"}
    assert lines[-2] == "in brackets: the share of 16 validation images that score at least as high"
    assert lines[-1] == f"scored 2 images; 1 skipped, written to {out}/"
    assert "notes.npy" in result.stderr
    assert (prior / REFERENCE_FILE).is_file()
    assert {path.name for path in (out / "figures").iterdir()} == {"bare.png", "whole.png"}

    def measured_again(*arguments: object) -> None:
        raise AssertionError("the validation images were measured again")

    monkeypatch.setattr(module, "measure_split", measured_again)
    content = json.loads(run("score", images, "--run", prior, "--out", out, "--json", "--figures", "none").stdout)
    assert [image["name"] for image in content["images"]] == [line.split()[0] for line in lines[2:4]]
    assert content == json.loads((out / "scores.json").read_text())


def test_every_kind_of_prior_scores(tiny_prior_run: Path, images: Path, tmp_path: Path) -> None:
    result = run("score", images / "whole.npy", "--run", tiny_prior_run, "--out", tmp_path / "out", "--json", "--maps")
    content = json.loads(result.stdout)
    assert content["images"][0]["bits_per_image"] > 0
    assert len(list((tmp_path / "out" / "maps").iterdir())) == 2


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        ("missing.png", [], DataError, "missing.png does not exist"),
        ("images/notes.npy", [], DataError, "notes.npy"),
        ("images", ["--figures", "some"], ConfigError, "--figures is 'some'"),
        ("images", ["--run", "nowhere"], CheckpointError, "There is no run at nowhere"),
        ("images", ["--form", "odd"], ConfigError, "odd"),
    ],
)
def test_what_is_wrong_is_said(
    prior: Path, images: Path, tmp_path: Path, source: str, options: list[str], error: type[VQKitError], message: str
) -> None:
    with pytest.raises(error, match=message):
        run("score", tmp_path / source, "--run", prior, "--out", tmp_path / "out", *options)


def test_a_prior_whose_data_are_gone_needs_what_was_kept(tiny_run: Path, tmp_path: Path) -> None:
    ready = load_sampler(new_prior("pixelcnn", tiny_run, tmp_path))
    ready.data = None
    with pytest.raises(DataError, match="does not name the data set that it was trained on"):
        usual_images(ready)


def test_held_out_images_are_told_from_those_of_other_data(prior: Path, tmp_path: Path) -> None:
    other, generator = tmp_path / "noise", torch.Generator().manual_seed(0)
    noise = (torch.rand(12, 5, 64, 32, generator=generator) < 0.5).to(torch.uint8) * 255
    for split, part in (("train", noise[:4]), ("test", noise[4:])):
        write_components(part, other / split, open_dataset("tyre").spec)
    arguments = ("evaluate", "--run", prior, "--num-samples", 0, "--limit", 12, "--against", other)
    output = run(*arguments).stdout
    place = next(number for number, line in enumerate(output.splitlines()) if line.startswith("score "))
    rows = [line.split() for line in output.splitlines()[place + 1 : place + 6]]
    assert [row[0] for row in rows] == ["bits", "typicality", "peak", "error", "combined"]
    (found,) = json.loads(run(*arguments, "--json").stdout)["priors"][0]["against"]
    assert [f"{each['auroc']:.4f}" for each in found["scores"]] == [row[1] for row in rows]
    by_name = {each["score"]: each for each in found["scores"]}
    assert by_name["error"]["auroc"] == 1 and by_name["error"]["found"] == 1
    assert by_name["error"]["other_mean"] > by_name["error"]["held_out_mean"]
    assert (found["images"], found["other_images"], found["reference_images"]) == (12, 8, 16)


def test_other_data_must_fit_and_are_for_priors(prior: Path, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--against is an option for priors, and .* is a model"):
        run("evaluate", "--run", tiny_run, "--against", "tyre")
    np.save(tmp_path / "grey.npy", np.zeros((20, 1, 64, 32), np.uint8))
    with pytest.raises(DataError, match="the model was trained on 5 binary components"):
        run("evaluate", "--run", prior, "--num-samples", 0, "--limit", 4, "--against", tmp_path / "grey.npy")
