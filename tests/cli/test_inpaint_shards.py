"""`vqkit inpaint --shard`: the parts together write what the whole writes, whichever images cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer

from command_runner import command_runner
from painting import load_blocks, sampler, sections, write_components
from vqkit.cli.inpaint import inpaint
from vqkit.errors import DataError
from vqkit.inference import pipeline as loading
from vqkit.inference import sampler as sampler_module
from vqkit.inference.pipeline import Pipeline

IMAGES = sections(6)
app = typer.Typer()
app.command("inpaint")(inpaint)
app.callback()(lambda: None)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with exported sections, of which the second is damaged, and models whose answers are known."""

    monkeypatch.setattr(loading, "load_model", load_blocks)
    monkeypatch.setattr(sampler_module, "load_sampler", lambda *arguments, **options: sampler("observed"))
    monkeypatch.chdir(tmp_path)
    write_components(IMAGES, Path("sections"))
    Path("sections/belt/s1_belt.png").write_bytes(b"damaged")


def run(*arguments: str) -> str:
    result = command_runner().invoke(app, ["inpaint", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def files(folder: str) -> dict[str, bytes]:
    """All files below a directory except the records of shards."""
    found = (path for path in sorted(Path(folder).rglob("*")) if path.is_file() and path.parent.name != "shards")
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize(
    "arguments", [[], ["--prior", "observed", "--num-samples", "3", "--seed", "4"]], ids=["filled", "completed"]
)
def test_shards_write_what_the_whole_writes(arguments: list[str]) -> None:
    keep = ["sections", "--keep", "belt", *arguments]
    run(*keep, "--out", "whole", "--figures", "3")
    for number in (2, 0, 3, 1):
        said = run(*keep, "--out", "parts", "--figures", "3", "--shard", f"{number}/4")
    assert "all 4 shards are finished, joined by parts/shards/inpainted.index.json" in said
    assert files("parts") == files("whole") and len(files("whole")) > 5 * 4


def test_a_finished_shard_is_not_done_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run("sections", "--keep", "belt", "--shard", "0/2")

    def fail(*arguments: object) -> None:
        raise AssertionError("filled in again")

    monkeypatch.setattr(Pipeline, "fill_unit", fail)
    assert "is finished already" in run("sections", "--keep", "belt", "--shard", "0/2")
    with pytest.raises(DataError, match="with other options"):
        run("sections", "--keep", "tread", "--shard", "1/2")


def test_shards_without_a_usable_image_are_finished_too() -> None:
    for number in range(6):
        said = run("sections", "--keep", "belt", "--shard", f"{number}/6")
        assert ("filled in 0 images; 1 skipped" in said) == (number == 1)
    assert "joined by" in said


def test_arrays_are_not_completed_in_parts() -> None:
    np.save("sections/more.npy", IMAGES.numpy())
    with pytest.raises(DataError, match="may hold several images"):
        run("sections", "--pattern", "**/{name}.*", "--keep", "belt", "--prior", "observed", "--shard", "0/2")
