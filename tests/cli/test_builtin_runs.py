"""Before anything was trained: the models in the box fill in, draw several answers, and draw new sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command_runner import command_runner
from vqkit.cli.app import app
from vqkit.errors import CheckpointError


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without runs, with two sections."""
    monkeypatch.chdir(tmp_path)
    run("data", "export", "tyre", "--split", "test", "--num", "2", "--out", "sections")


def run(*arguments: str) -> Any:
    result = command_runner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result


def test_sections_are_filled_in() -> None:
    result = run("inpaint", "sections", "--keep", "group_nc")
    assert "There is no trained model in runs/ yet: using builtin:tyre" in result.stderr
    assert "filled in 2 images, written to inpainted/" in result.stdout
    tread = np.array(Image.open("inpainted/tpc/test_00000_tpc.png")) > 0
    true = np.array(Image.open("sections/tpc/test_00000_tpc.png")) > 0
    assert (tread & true).sum() > 0.4 * (tread | true).sum()  # of the farthest component, from the innermost one


def test_several_answers() -> None:
    result = run("inpaint", "sections", "--keep", "group_nc", "--prior", "builtin:tyre-prior", "-n", "2", "--figures", "none")
    assert "completed 2 images in 2 ways" in result.stdout
    assert "Note" not in result.stderr


def test_new_sections() -> None:
    result = run("sample", "-n", "2")
    assert "There is no trained prior in runs/ yet: using builtin:tyre-prior" in result.stderr
    assert len(list(Path("samples/images").rglob("*tpc.png"))) == 2


def test_other_commands_need_a_run_or_its_name() -> None:
    with pytest.raises(CheckpointError, match="There is no trained model in runs/"):
        command_runner().invoke(app, ["encode", "sections"], catch_exceptions=False)
    assert "encoded 2 images" in run("encode", "sections", "--run", "builtin:tyre").stdout
