"""`vqkit evaluate` and `vqkit codebook-stats` on a tiny run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from vqkit.cli.codebook_stats import codebook_stats
from vqkit.cli.evaluate import evaluate
from vqkit.errors import ConfigError

app = typer.Typer()
app.command("evaluate")(evaluate)
app.command("codebook-stats")(codebook_stats)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_evaluate_prints_a_row_for_each_keep_set(tiny_run: Path) -> None:
    output = run("evaluate", "--run", tiny_run, "--limit", 4)
    rows = [line.split("  ")[0].strip() for line in output.splitlines()]
    assert {"full input", "keep group_nc", "all but tpc"} <= set(rows)
    assert "4 images of tyre, test split" in output
    assert "MSE / data variance" in output
    assert "perplexity" in output


def test_evaluate_as_json_prints_one_object_and_writes_the_same(tiny_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ("evaluate", "--run", tiny_run, "--keep", "group_nc, bt", "--limit", 4, "--json", "--out", file)
    (evaluation,) = json.loads(run(*arguments))["evaluations"]
    assert json.loads(file.read_text()) == {"evaluations": [evaluation]}
    assert [part["name"] for part in evaluation["parts"]] == ["keep group_nc,bt"]
    assert list(evaluation["parts"][0]["iou"]) == ["group_km", "fpu", "tpc"]
    assert evaluation["data"]["num_test"] == 16
    assert evaluation["levels"][0]["num_codes"] == 32


def test_several_runs_are_compared(tiny_run: Path) -> None:
    output = run("evaluate", "--run", tiny_run, "--run", tiny_run / "checkpoints" / "step-00000020", "--keep", "bt", "--limit", 4)
    assert "comparison" in output
    assert sum(line.startswith("keep bt") for line in output.splitlines()) == 3


def test_an_unknown_component_is_explained(tiny_run: Path) -> None:
    with pytest.raises(ConfigError, match=r"no component 'group_n'.*Did you mean 'group_nc'"):
        run("evaluate", "--run", tiny_run, "--keep", "group_n")


def test_codebook_stats_writes_pictures_and_says_where(tiny_run: Path, tmp_path: Path) -> None:
    output = run("codebook-stats", "--run", tiny_run, "--limit", 8, "--out", tmp_path / "book")
    assert "16 x 8" in output
    assert f"written to {tmp_path / 'book'}" in output
    pictures = {path.name for path in (tmp_path / "book").iterdir()}
    assert pictures == {"codes_usage.png", "codes_entropy.png", "codes_most_used.png", "codes_least_used.png", "statistics.json"}


def test_codebook_stats_as_json(tiny_run: Path, tmp_path: Path) -> None:
    content = json.loads(run("codebook-stats", "--run", tiny_run, "--limit", 8, "--out", tmp_path, "--json"))
    assert json.loads((tmp_path / "statistics.json").read_text()) == content
    (level,) = content["levels"]
    assert sum(level["counts"]) == 8 * 16 * 8
    assert level["used"] + len(level["unused"]) == 32
    assert content["reset"] is None


def test_reset_unused_saves_a_usable_checkpoint(tiny_run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    content = json.loads(run("codebook-stats", "--run", copy, "--limit", 1, "--reset-unused", "--json"))
    unused = len(content["levels"][0]["unused"])
    assert content["reset"]["codes"] == unused > 0
    after = json.loads(run("codebook-stats", "--run", content["reset"]["checkpoint"], "--limit", 1, "--json"))
    assert after["digest"] != content["digest"]
    assert (copy / "codebook" / "codes_usage.png").is_file()
