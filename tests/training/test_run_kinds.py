"""The table of the kinds of runs: complete, and the only place where they differ."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from small_runs import tiny, tiny_prior
from vqkit.config import SCHEMAS, PriorRunConfig, RunConfig
from vqkit.errors import CheckpointError, ConfigError
from vqkit.interfaces import DataSpec
from vqkit.storage.checkpoints import load_model
from vqkit.storage.runs import kind_of
from vqkit.training import train
from vqkit.training.kinds import RUN_KINDS, next_steps


def test_every_kind_of_configuration_has_its_row() -> None:
    assert RUN_KINDS.keys() == SCHEMAS.keys()
    assert len({schema.command for schema in SCHEMAS.values()}) == len(SCHEMAS)


def test_a_run_names_its_kind(tiny_run: Path, tiny_prior_run: Path) -> None:
    assert (kind_of(tiny_run), kind_of(tiny_prior_run)) == ("model", "prior")


def test_a_run_without_a_kind_does_not_go_on(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    text = (tiny_run / "run.yaml").read_text()
    (tmp_path / "run/run.yaml").write_text(text.replace("kind: model\n", "", 1))
    for flags, out, resume in ((tiny(), tmp_path / "run", "auto"), ({}, None, str(tmp_path / "run"))):
        with pytest.raises(CheckpointError, match=r"run\.yaml does not say which kind of run it is\. Expected kind: model, prior"):
            train(None, flags, [], out, resume)


def test_a_directory_of_something_else_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(ConfigError, match="exists and is not a run"):
        train(None, tiny(), [], tmp_path, "auto")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_what_is_to_be_typed_next_can_be(tiny_run: Path) -> None:
    spec, run = load_model(tiny_run).model.spec, Path("runs/mit Ü")
    told = PriorRunConfig.model_validate({**tiny_prior(tiny_run, "observed"), "data": {"name": "tyre"}})
    for lines in (next_steps(RunConfig(), run, spec), next_steps(told, run, spec)):
        named = [shlex.split(line) for line in lines if "runs/mit" in line]
        assert named and all("runs/mit Ü" in words for words in named)


def test_the_next_steps_use_the_run(tiny_run: Path) -> None:
    spec = load_model(tiny_run).model.spec
    run = Path("runs/a")
    assert "vqkit inpaint sections --run runs/a" in "\n".join(next_steps(RunConfig(), run, spec))
    data = {"data": {"name": "tyre"}}
    told = {name: PriorRunConfig.model_validate({**tiny_prior(tiny_run, name), **data}) for name in ("metadata", "observed")}
    assert "vqkit sample --run runs/a" in "\n".join(next_steps(told["metadata"], run, spec))
    assert "vqkit inpaint sections --prior runs/a" in "\n".join(next_steps(told["observed"], run, spec))
    encoder = SCHEMAS["encoder"].model_validate({"data": {"name": "images", "path": "cells", "components": ["a"]}})
    use = "train-vqvae --model vqvae --data cells --init-encoder runs/a --set 'data.components=[\"a\"]'"
    assert use in "\n".join(next_steps(encoder, run, spec))


def test_the_next_steps_open_the_same_images(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my bands").mkdir()
    spec = load_model(tiny_run).model.spec
    config = RunConfig.model_validate(
        {"data": {"name": "images", "path": "my bands", "pattern": "{class}/{name}.png", "components": ["a", "b"], "flip": False}}
    )
    export, fill_in = next_steps(config, Path("runs/a"), spec)[1:]
    words = shlex.split(export.partition("vqkit ")[2])
    assert words[:3] == ["data", "export", "my bands"]
    assert words[words.index("--out") + 1] == "held_out"
    assert [words[at + 1] for at, word in enumerate(words) if word == "--set"] == [
        "data.pattern={class}/{name}.png",
        'data.components=["a", "b"]',
    ]
    assert "vqkit inpaint held_out --run runs/a" in fill_in
    joined = RunConfig.model_validate({"data": {"name": "joined", "paths": ["a", "b"], "settings": {"height": 64}}})
    assert "vqkit data export a,b --split test --num 4 --out held_out --set data.settings.height=64" in "".join(
        next_steps(joined, Path("runs/a"), spec)
    )


@pytest.mark.parametrize(("components", "kind", "known"), [(2, "auto", "--keep a"), (2, "mixed", "--mask"), (1, "auto", "--mask")])
def test_the_next_step_fills_in_what_training_has_hidden(components: int, kind: str, known: str) -> None:
    spec = DataSpec.uniform("set", ("a", "b")[:components], 8, 8, "intensity")
    config = RunConfig.model_validate({"data": {"name": "tyre"}, "masking": {"kind": kind}})
    assert known in next_steps(config, Path("runs/a"), spec)[-1]
