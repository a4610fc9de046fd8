"""Poisoning: whatever is stored where nothing is present changes no byte of a checkpoint, a metric, a picture or an output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import typer

from command_runner import command_runner
from poisoned import SPECS, garbage_in_gaps, poisoned, settings
from vqkit.cli.codebook_stats import codebook_stats
from vqkit.cli.evaluate import evaluate
from vqkit.config import NamedOptions, PretrainingRunConfig, PriorRunConfig, RunConfig
from vqkit.data.opening import open_dataset
from vqkit.inference.encoding import encode_split
from vqkit.inference.pipeline import Pipeline
from vqkit.inference.postprocess import fill_stored
from vqkit.interfaces import Batch
from vqkit.storage.checkpoints import load_model
from vqkit.training import building
from vqkit.training.run import train
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.pretraining import SelfSupervisedTask
from vqkit.training.tasks.prior import PriorTask
from vqkit.training.trainer import Trainer

__all__ = ["poisoned"]
pytestmark = pytest.mark.usefixtures("poisoned")

app = typer.Typer()
app.command("evaluate")(evaluate)
app.command("codebook-stats")(codebook_stats)

CODES = {"num_codes": 16, "dim": 4, "reset_every": 2}
_TIMES = ("images_per_second", "seconds")


def printed(*arguments: object) -> str:
    result = command_runner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def untimed(content: Any) -> Any:
    """JSON without what depends on the clock."""
    if isinstance(content, dict):
        return {name: untimed(value) for name, value in content.items() if name not in _TIMES}
    return [untimed(value) for value in content] if isinstance(content, list) else content


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run by its path, without times; TensorBoard's events hold the time of each row, of metrics.jsonl."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "tensorboard" not in path.parts:
            content = path.read_bytes()
            if path.name == "metrics.jsonl":
                content = json.dumps([untimed(json.loads(line)) for line in content.decode().splitlines()]).encode()
            found[str(path.relative_to(folder))] = content
    return found


def fill_gaps_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches hold 0 where nothing is present once they are on the device; from now on training and validation get 0.7 there."""

    def filled(batch: Batch) -> Batch:
        return batch._replace(images=torch.where(batch.observed, batch.images, 0.7)) if batch.images.numel() else batch

    step = Trainer._train_step
    monkeypatch.setattr(Trainer, "_train_step", lambda self, forward, batch: step(self, forward, filled(batch)))
    for task in (AutoencoderTask, SelfSupervisedTask, PriorTask):
        inner = task.validate
        monkeypatch.setattr(task, "validate", lambda self, batch, first, inner=inner: inner(self, filled(batch), first))


def alike(work: Callable[[], dict[str, bytes]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Do the work twice in a directory of its own, with and without garbage in the gaps: every file must be the same."""
    found = []
    for name in ("clean", "poisoned"):
        (folder / name).mkdir()
        monkeypatch.chdir(folder / name)
        torch.manual_seed(0)  # as in a process of its own: checkpoints keep the state of this generator
        if name == "clean":
            found.append(work())
        else:
            fill_gaps_on_the_device(monkeypatch)
            with garbage_in_gaps():
                found.append(work())
    clean, other = found
    assert clean.keys() == other.keys()
    assert [name for name, content in clean.items() if other[name] != content] == []
    return clean


MASKS = {kind: {"warmup_epochs": 0, "kind": kind} for kind in ("components", "components-or-boxes", "boxes", "free-form", "half")}
LATENT = {"latent_dim": 4}
RESIDUAL = {"name": "residual", "num_quantizers": 2, "inner": {"name": "ema", **CODES}}
MODELS: dict[str, dict[str, Any]] = {
    "vqvae": settings(
        "floats",
        {"name": "vqvae", "quantizer": CODES},
        masking=MASKS["components-or-boxes"],
        loss={"perceptual": 0.1, "adversarial": 0.1, "discriminator_channels": 8},
    ),
    "vqvae of 16 bits": settings("integers", {"name": "vqvae", "quantizer": CODES}, masking=MASKS["components"]),
    "vqvae2": settings("floats", {"name": "vqvae2", "quantizer": RESIDUAL}, masking=MASKS["free-form"]),
    "gradient": settings("integers", {"name": "vqvae", "quantizer": {"name": "gradient", **CODES}}, masking=MASKS["half"]),
    "autoencoder": settings("floats", {"name": "autoencoder", **LATENT}, masking=MASKS["boxes"]),
    "vae": settings("integers", {"name": "vae", **LATENT}),
    "auxiliary-vae": settings("floats", {"name": "auxiliary-vae", **LATENT}),
    "treevi": settings("floats", {"name": "treevi", **LATENT}),
    "vae-gan": settings("floats", {"name": "vae-gan", "discriminator_channels": 8, **LATENT}),
    "adversarial-vae": settings("integers", {"name": "adversarial-vae", "discriminator_channels": 8, **LATENT}),
}


def augmented(content: dict[str, Any]) -> dict[str, Any]:
    return {**content, "data": {**content["data"], "augmented": True}}


@pytest.mark.parametrize("name", MODELS)
def test_training_does_not_see_what_is_absent(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With masks of all kinds, shifted and mirrored images, adversarial and perceptual losses, and pictures."""
    # In place of VGG-16, whose weights are not at hand.
    monkeypatch.setattr(building, "check_pictures", lambda spec: None)
    monkeypatch.setattr(building, "load_vgg", lambda weights, device: lambda images: [images, F.avg_pool2d(images, 3, 1)])

    def work() -> dict[str, bytes]:
        train(None, augmented(MODELS[name]), [], Path("run"), "auto")
        return files(Path("run"))

    written = alike(work, tmp_path, monkeypatch)
    assert {"model.safetensors", "training.safetensors", "metrics.jsonl"} <= {Path(path).name for path in written}
    assert sum(path.endswith(".png") for path in written) >= 4
    rows = [json.loads(line) for line in written["metrics.jsonl"].decode().splitlines()]
    assert rows, "the metrics are compared as well"


@pytest.mark.parametrize("method", ["byol", "barlow-twins", "simclr"])
def test_pretraining_does_not_see_what_is_absent(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = augmented(settings("floats" if method == "byol" else "integers", {"name": "vqvae"}))
    del content["masking"]
    content["method"] = {"name": method, "hidden": 8, "dim": 4}

    def work() -> dict[str, bytes]:
        train(None, content, [], Path("run"), "auto", PretrainingRunConfig)
        return files(Path("run"))

    assert "embedding.png" in alike(work, tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def tokenizers(poisoned: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A run on each of the sets; do not change them."""
    found = {}
    for kind in SPECS:
        found[kind] = tmp_path_factory.mktemp("tokenizers") / kind
        train(None, settings(kind, {"name": "vqvae2", "quantizer": CODES}), [], found[kind], "auto", RunConfig)
    return found


@pytest.mark.parametrize("kind", SPECS)
def test_a_prior_and_its_evaluation_do_not_see_what_is_absent(
    kind: str, tokenizers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {
        "prior": {"name": "hierarchical", "channels": 8, "layers": 1},
        "tokenizer": {"run": str(tokenizers[kind])},
        "conditioning": {"condition_on": ["observed", "metadata"]},
        "training": {"batch_size": 8, "steps": 4, "precision": "fp32", "picture_every": 1},
    }

    def work() -> dict[str, bytes]:
        for cached in (tokenizers[kind] / "codes").glob("*"):
            cached.unlink()
        train(None, content, [], Path("prior"), "auto", PriorRunConfig)
        asked = ("--keep", SPECS[kind].components[0], "--num-samples", 4, "--completions", 2, "--against", "poisoned", "--json")
        measured = untimed(json.loads(printed("evaluate", "--run", "prior", *asked)))
        for each in measured["priors"]:
            del each["run"], each["tokenizer"]
        codes = {path.name: path.read_bytes() for path in (tokenizers[kind] / "codes").glob("*")}
        assert codes and list(Path("prior").rglob("oddity.json"))
        return {**files(Path("prior")), **codes, "evaluation": json.dumps(measured).encode()}

    alike(work, tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", SPECS)
def test_evaluation_and_codes_do_not_depend_on_what_is_absent(
    kind: str, tokenizers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tokenizers[kind]

    def work() -> dict[str, bytes]:
        measured = untimed(json.loads(printed("evaluate", "--run", run, "--mask-kind", "boxes", "--json")))
        statistics = json.loads(printed("codebook-stats", "--run", run, "--out", "codebook", "--json"))
        pipeline = Pipeline(load_model(run), torch.device("cpu"), "fp32")
        split = open_dataset(load_model(run).data).split("test")
        codes = encode_split(pipeline, split, lambda count: None)
        batch = split.batch(torch.arange(len(split)))
        observed = batch.observed.clone()
        observed[:, 0] = False
        filled = fill_stored(pipeline.fill(batch.images, observed), batch.images, observed, pipeline.spec)
        # Of an array, NaN is what is absent; numbers are hidden by the mask.
        array = torch.where(batch.observed, batch.images, torch.nan) if kind == "floats" else batch.images
        painted = pipeline.inpaint(array.numpy(), observed=observed.numpy())
        outputs = {"evaluation": json.dumps(measured).encode(), "statistics": json.dumps(statistics).encode()}
        outputs["painted"] = painted.tobytes()
        outputs |= {f"codes {number}": level.numpy().tobytes() for number, level in enumerate(codes.codes)}
        return {**outputs, "filled": filled.numpy().tobytes(), **files(Path("codebook"))}

    written = alike(work, tmp_path, monkeypatch)
    assert sum(path.endswith(".png") for path in written) >= 8
    assert json.loads(written["evaluation"])["evaluations"][0]["full"]["mse"] > 0


def test_absent_pixels_do_hold_garbage_in_these_tests() -> None:
    for kind, spec in SPECS.items():
        data = open_dataset(NamedOptions(name="poisoned", kind=kind))
        clean = data.split("test").batch(torch.arange(9))
        with garbage_in_gaps():
            dirty = data.split("test").batch(torch.arange(9))
        assert clean.present is not None
        assert torch.equal(clean.images[clean.present], dirty.images[clean.present])
        assert torch.equal(clean.conditions, dirty.conditions)
        worst = spec.to_unit(dirty.images)[~clean.present]
        assert bool(worst.isnan().any()) if kind == "floats" else float(worst.max()) > 20
