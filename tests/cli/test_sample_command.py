"""`vqkit sample` as typed, with a prior whose answers are known, and with trained runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from command_runner import command_runner
from painting import SHAPES, sampler, sections, write_components
from vqkit.cli.sample import parse_sweep, sample
from vqkit.config import NamedOptions
from vqkit.errors import CheckpointError, ConfigError
from vqkit.image_io.inputs import find_inputs
from vqkit.image_io.reading import ReadOptions, read_images
from vqkit.image_io.tables import write_table
from vqkit.inference import sampler as module
from vqkit.inference.sampler import Sampler
from vqkit.interfaces import DataSpec
from vqkit.interfaces.priors import Sampling
from vqkit.storage.checkpoints import load_model, write_model
from vqkit.storage.code_files import read_codes

PETS = DataSpec.uniform("pets", ("grey",), 8, 8, "intensity", classes=("cat", "dog", "eel"))
USING = "using runs/prior/model.safetensors and its tokenizer runs/blocks/model.safetensors"
app = typer.Typer()
app.command("sample")(sample)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `load_sampler` was asked for. The name of a run says what its prior was trained with; `class` is of pets."""
    calls: list[Any] = []

    def load_sampler(run: str | None, tokenizer: str | None, device: str) -> Sampler:
        calls.append((run, tokenizer, device))
        kinds = [kind for kind in (run or "").split("+") if kind != "none"]
        ready = sampler(*kinds, spec=PETS if "class" in kinds else SHAPES)
        ready.data = NamedOptions(name="components", path="sections", conditions=["width_px"])
        return ready

    monkeypatch.setattr(module, "load_sampler", load_sampler)
    monkeypatch.chdir(tmp_path)
    return calls


def run(*arguments: object) -> Any:
    result = command_runner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def record(out: str = "samples") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path(out, "samples.json").read_text())
    return content


def images(out: str = "samples") -> torch.Tensor:
    items = find_inputs(Path(out, "images"), SHAPES).items
    entries = read_images(items, SHAPES, ReadOptions(), lambda path, reason: None, lambda image: None)
    return torch.stack([entry.image for entry in entries])


def test_without_conditions_as_typed(asked: list[Any]) -> None:
    result = run("--run", "none")
    assert result.stdout.splitlines() == [
        USING,
        "unconditional",
        "drew 16 images, written to samples/images/",
        "look at samples/grid.png",
    ]
    assert result.stderr.splitlines()[-1] == "drawn: 16 of 16"
    assert asked == [("none", None, "auto")]
    assert torch.equal(images(), sampler().sample(16).images)
    assert {path.name for path in Path("samples").iterdir()} == {"grid.png", "images", "samples.json"}


def test_options_reach_the_prior(asked: list[Any]) -> None:
    how = ("--temperature", 0.7, "--top-k", 9, "--top-p", 0.9, "--guidance-scale", 2, "--seed", 3, "--method", "fixed-point")
    told = ("--condition", "width_px=60", "--num-samples", 3, "--batch-size", 2, "--codes")
    run("--run", "metadata", "--tokenizer", "moved", "--device", "cpu", *how, *told, "--out", "new")
    sampling = Sampling(0.7, 9, 0.9, 2.0, 3, "fixed-point")
    drawn = sampler("metadata").sample(3, {"width_px": 60}, sampling=sampling)
    assert asked == [("metadata", "moved", "cpu")]
    assert torch.equal(images("new"), drawn.images)
    assert Sampling(**record("new")["sampling"]) == sampling
    assert [image["conditions"] for image in record("new")["images"]] == [{"width_px": 60}] * 3
    assert torch.equal(read_codes(Path("new/codes.safetensors")).part(slice(None))[0], drawn.codes[0])


@pytest.mark.parametrize("mode", [[], ["--mode", "conditional"]])
def test_conditions_of_the_test_set_by_default(asked: list[Any], mode: list[str]) -> None:
    write_components(sections(2), Path("sections/test"))
    write_table(Path("sections/performances.csv"), ["s0", "s1"], "test", ["width_px"], torch.tensor([[20.0], [80]]))
    result = run("--run", "metadata", "-n", 3, *mode)
    assert result.stdout.splitlines()[1] == "with the conditions of the test set of sections"
    assert [image["conditions"]["width_px"] for image in record()["images"]] == [20, 80, 20]
    assert torch.equal(images(), sampler("metadata").sample(3, {"width_px": [20, 80, 20]}).images)


def test_a_conditional_prior_draws_without_conditions_when_asked_to(asked: list[Any]) -> None:
    run("--run", "metadata", "--mode", "unconditional", "-n", 2)
    assert torch.equal(images(), sampler("metadata").sample(2).images)
    run("--run", "observed", "-n", 2, "--out", "other")
    assert torch.equal(images("other"), sampler("observed").sample(2).images)


def test_a_class_by_name(asked: list[Any]) -> None:
    run("--run", "class", "--class", "eel", "-n", 2)
    assert [image["class"] for image in record()["images"]] == ["eel", "eel"]


def test_a_sweep(asked: list[Any]) -> None:
    result = run("--run", "metadata", "--sweep", "width_px=20:80:3")
    assert result.stdout.splitlines()[1] == "drew 12 images, written to samples/images/"
    content = record()["images"]
    assert [image["conditions"]["width_px"] for image in content] == [20] * 4 + [50] * 4 + [80] * 4
    assert [image["number"] for image in content] == [0, 1, 2, 3] * 3
    run("--run", "metadata", "--sweep", "width_px=20:80:2", "-n", 1, "--out", "one")
    assert torch.equal(images("one")[0], sampler("metadata").sample(1, {"width_px": 20}).images[0])


def test_a_condition_out_of_range_is_a_note(asked: list[Any]) -> None:
    with pytest.warns(UserWarning, match="width_px 120 is outside the range that the prior was trained with, 0 to 100"):
        result = run("--run", "metadata", "--condition", "width_px=120", "-n", 1)
    assert result.exit_code == 0 and len(images()) == 1


@pytest.mark.parametrize(
    ("prior", "arguments", "message"),
    [
        ("none", ["--num-samples", 0], "0 images were requested"),
        ("none", ["--temperature", 0], "temperature is 0"),
        ("none", ["--temperature", -1], "temperature is -1"),
        ("none", ["--temperature", "warm"], "temperature 'warm' is not a number.*0.9,1"),
        ("none", ["--temperature", "0.9,0"], "temperature is 0"),
        ("none", ["--temperature", "0.9,1"], "2 temperatures were given for the levels of codes blocks"),
        ("none", ["--top-p", 0], r"top-p is 0; it must be in \(0, 1\]"),
        ("none", ["--top-p", 1.1], "top-p is 1.1"),
        ("none", ["--top-k", 0], "top-k is 0"),
        ("none", ["--method", "magic"], "no sampling method 'magic'.*cached, fixed-point, naive"),
        ("none", ["--mode", "both"], "no mode 'both'.*unconditional, conditional"),
        ("none", ["--mode", "conditional"], "not trained with --condition-on metadata.*train-prior"),
        ("observed", ["--mode", "conditional"], "draws new ones only unconditionally"),
        (
            "metadata",
            ["--mode", "unconditional", "--condition", "width_px=3"],
            "unconditional contradicts the given conditions",
        ),
        ("none", ["--condition", "width_px=3"], "not trained with --condition-on metadata"),
        ("metadata", ["--condition", "width=3"], "no condition 'width'"),
        ("metadata", ["--class", "cat"], "not trained with --condition-on class"),
        ("class", ["--class", "cot"], "no class 'cot'. Did you mean 'cat'"),
        ("metadata", ["--sweep", "width=1:2:3"], "no condition 'width'"),
        ("metadata", ["--sweep", "width_px=1:2:3", "--condition", "width_px=2"], "given by both --condition and --sweep"),
        ("metadata", ["--sweep", "width_px=1:2:3", "--num-samples", 0], "0 images were requested"),
    ],
)
def test_what_cannot_be_drawn_says_so_and_writes_nothing(
    asked: list[Any], prior: str, arguments: list[object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run("--run", prior, *arguments)
    assert not Path("samples").exists()


@pytest.mark.parametrize("text", ["width_px", "width_px=1:2", "width_px=1:2:x", "width_px=a:2:3", "width_px=1:2:2.5"])
def test_a_sweep_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read\. Write NAME=FROM:TO:COUNT"):
        parse_sweep(text)


@pytest.mark.parametrize(("text", "message"), [("a=1:2:1", "no sweep"), ("a=1:inf:3", "no sweep"), ("a=2:2:3", "nearly equal")])
def test_a_sweep_that_is_none(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_sweep(text)


def test_a_sweep_goes_from_one_value_to_the_other() -> None:
    assert parse_sweep("width_px=50:64:8") == ("width_px", (50, 52, 54, 56, 58, 60, 62, 64))
    assert parse_sweep("a = 1:-1:3") == ("a", (1, 0, -1)) and parse_sweep(None) is None


def test_a_trained_run_draws_the_same_every_time(tiny_prior_run: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    output = run("--run", tiny_prior_run, "-n", 2, "--out", first, "--device", "cpu").stdout
    assert "with the conditions of the test set of tyre" in output
    run("--run", tiny_prior_run, "-n", 2, "--out", second, "--device", "cpu", "--method", "fixed-point", "--batch-size", 1)
    files = sorted(path.relative_to(first) for path in first.rglob("*.png"))
    assert len(files) == 13 and all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


def test_runs_that_cannot_be_used_are_explained(
    tiny_prior_run: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="holds a model, not a prior"):
        run("--run", tiny_run)
    trained = load_model(tiny_run)
    with torch.no_grad():
        next(trained.model.parameters()).add_(0.01)
    write_model(tmp_path / "model.safetensors", trained.model, trained.data)
    with pytest.raises(CheckpointError, match=r"models the codes of the tokenizer \w+; \S+ is another one"):
        run("--run", tiny_prior_run, "--tokenizer", tmp_path / "model.safetensors")
    assert not Path("samples").exists()
