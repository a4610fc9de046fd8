"""Every command that torchrun may start gives with two processes what it gives with one; only rank 0 prints."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from processes import start, start_group
from vqkit.cli.app import main
from vqkit.data.exporting import export
from vqkit.data.opening import open_dataset
from vqkit.storage.checkpoints import load_model

IMAGES = 5

COMMANDS: dict[str, list[str]] = {
    "encode": ["encode", "sections", "--run", "TOKENIZER", "-b", "2", "--out", "OUT/codes.safetensors"],
    "encode-shard": ["encode", "sections", "--run", "TOKENIZER", "--shard", "0/2", "--out", "OUT/codes.safetensors"],
    "fill": ["inpaint", "sections", "--keep", "group_nc", "--run", "TOKENIZER", "--figures", "2", "--out", "OUT"],
    "complete": ["inpaint", "sections", "--keep", "group_nc", "--prior", "COMPLETING", "-n", "2", "--out", "OUT"],
    "sample": ["sample", "--run", "PRIOR", "-n", "3", "--mode", "unconditional", "--codes", "--out", "OUT"],
    "codebook": ["codebook-stats", "--run", "TOKENIZER", "--limit", "7", "-b", "3", "--out", "OUT"],
    "evaluate": ["evaluate", "--run", "TOKENIZER", "--limit", "7", "-b", "3", "--keep", "bt", "--out", "OUT/results.json"],
    "evaluate-prior": ["evaluate", "--run", "PRIOR", "--limit", "7", "-n", "5", "--out", "OUT/results.json"],
    "evaluate-completions": [
        *["evaluate", "--run", "COMPLETING", "--limit", "18", "-n", "0", "--completions", "2", "--keep", "group_nc"],
        *["--floors", "none", "--out", "OUT/results.json"],
    ],
}


def run_all(rank: int, folder: str, out: str = "two") -> None:
    """Run every command below a folder; what is printed is kept beside the results."""
    os.chdir(folder)
    runs = json.loads(Path("runs.json").read_text())
    for name, words in COMMANDS.items():
        sys.argv = ["vqkit", *(runs.get(word, word.replace("OUT", f"{out}/{name}")) for word in words)]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main()
        Path(f"{out}-{name}-{rank}.txt").write_text(printed.getvalue())


@pytest.fixture(scope="module")
def folder(tiny_run: Path, tiny_prior_run: Path, tiny_completing_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of all commands with one process, below one/, and with two, below two/."""
    folder = tmp_path_factory.mktemp("processes")
    export(open_dataset(load_model(tiny_run).data).split("test"), "test", IMAGES, folder / "sections")
    runs = {"TOKENIZER": str(tiny_run), "PRIOR": str(tiny_prior_run), "COMPLETING": str(tiny_completing_run)}
    (folder / "runs.json").write_text(json.dumps(runs))
    start(run_all, str(folder), "one")
    start_group(run_all, folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", ["encode", "encode-shard", "fill", "complete", "sample", "codebook"])
def test_the_files_are_equal(folder: Path, name: str) -> None:
    one, two = files(folder / "one" / name), files(folder / "two" / name)
    assert list(one) == list(two) and len(one) >= 1
    for path, content in one.items():
        if path == "statistics.json":
            assert close(json.loads(two[path]), json.loads(content))
        else:
            assert two[path] == content, path


@pytest.mark.parametrize("name", ["evaluate", "evaluate-prior", "evaluate-completions"])
def test_the_figures_are_equal(folder: Path, name: str) -> None:
    one, two = (json.loads((folder / out / name / "results.json").read_text()) for out in ("one", "two"))
    assert close(two, one)
    assert len(json.dumps(one)) > 1000


@pytest.mark.parametrize("name", COMMANDS)
def test_only_the_first_process_prints(folder: Path, name: str) -> None:
    texts = {(out, rank): folder / f"{out}-{name}-{rank}.txt" for out, rank in (("one", 0), ("two", 0), ("two", 1))}
    printed = {key: path.read_text() for key, path in texts.items()}
    assert printed["two", 1] == ""
    if not name.startswith("evaluate"):  # which says how many images it did a second
        assert printed["two", 0].replace("two/", "one/") == printed["one", 0] != ""


def close(found: Any, expected: Any) -> bool:
    """Whether two results are equal but for rounding, and for how long they took."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            close(found[key], value) for key, value in expected.items() if key not in ("images_per_second", "pictures")
        )
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(close, found, expected))
    if isinstance(expected, float) and expected == expected:
        return bool(found == pytest.approx(expected, rel=1e-5, abs=1e-7))
    return bool(found == expected) or found != found
