"""`vqkit reproduce` and `vqkit report`: what is typed arrives, and what is wrong is said in a sentence."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from vqkit.cli.app import app, main


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as caught:
        app([str(word) for word in words], prog_name="vqkit")
    assert isinstance(caught.value.code, int)
    return caught.value.code


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    """The lines of a command that leaves with exit code 2."""
    monkeypatch.setattr("sys.argv", ["vqkit", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    return capsys.readouterr().err.splitlines()


class Written(NamedTuple):
    page: Path


def test_what_is_typed_after_reproduce_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def note(*given: Any, **settings: Any) -> Written:
        calls.append(given)
        return Written(Path("page"))

    monkeypatch.setattr("vqkit.reproduce.comparing.reproduce", note)
    monkeypatch.setattr("sys.argv", ["vqkit", "reproduce", "-m", "vae, vqvae"])
    assert run("reproduce") == 0
    typed = ("--preset", "full", "--data", "cats", "--models", "vae, vqvae", "--out", "here", "--jobs", "3", "--device", "cpu")
    assert run("reproduce", *typed) == 0
    command = "vqkit reproduce -m 'vae, vqvae'"
    assert calls == [
        ("smoke", "tyre", [], None, "auto", command, None),
        ("full", "cats", ["vae", "vqvae"], Path("here"), "cpu", command, 3),
    ]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("--preset", "smok"), "There is no preset 'smok'.", "Did you mean 'smoke'?"),
        (("--models", "vqvea"), "There is no model named 'vqvea'.", "Did you mean 'vqvae'?"),
        (("--data", "nowhere"), "'nowhere' is neither a data set nor a path that exists.", "Give a path that exists"),
    ],
)
def test_wrong_words_after_reproduce_are_explained(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
    hint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    error, advice = refused(monkeypatch, capsys, "reproduce", *words)
    assert error == f"Error: {message}"
    assert advice.startswith(f"Hint: {hint}")
    assert list(tmp_path.iterdir()) == []


def test_report_compares_any_runs(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = (shutil.copytree(tiny_run, tmp_path / name) for name in ("one", "other"))
    settings = yaml.safe_load((other / "run.yaml").read_text())
    settings["training"]["seed"] = 1
    (other / "run.yaml").write_text(yaml.safe_dump(settings))
    assert run("report", one, other, "--out", tmp_path / "out", "--limit", 4, "--device", "cpu") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Done: {tmp_path}/out/index.html"
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    own, floors = ([row for row in rows if row["kind"] == kind] for kind in ("model", "floor"))
    assert {row["model"] for row in floors} >= {"floor: nearest", "floor: copy", "floor: harmonic"}
    assert {(row["model"], row["seed"], row["run"], row["test_images"], row["training_steps"]) for row in own} == {
        ("vqvae", "0", "../one", "4", "20"),
        ("vqvae", "1", "../other", "4", "20"),
    }
    assert (tmp_path / "out" / "figures" / "validation.pdf").is_file()


def test_report_refuses_a_run_of_other_data(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(tiny_run, tmp_path / "other")
    settings = yaml.safe_load((other / "run.yaml").read_text())
    settings["data"]["seed"] = 7
    (other / "run.yaml").write_text(yaml.safe_dump(settings))
    error, hint = refused(monkeypatch, capsys, "report", tiny_run, other, "--out", tmp_path / "out")
    assert "was trained on tyre with data.seed = 7" in error
    assert hint == "Hint: Make a report for each data set."
    assert not (tmp_path / "out").exists()


def test_report_says_which_run_cannot_be_measured(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = shutil.copytree(tiny_run, tmp_path / "broken")
    for file in broken.glob("checkpoints/*/model.safetensors"):
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    error, hint = refused(monkeypatch, capsys, "report", broken, "--out", tmp_path / "out")
    assert error.startswith(f"Error: 1 of 1 runs cannot be measured; {broken}: ")
    assert hint == f"Hint: {tmp_path}/out/index.html shows the others."
