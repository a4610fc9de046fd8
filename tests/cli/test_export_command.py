"""`vqkit export`: what it writes and says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from command_runner import command_runner
from vqkit.cli.app import app
from vqkit.errors import ConfigError
from vqkit.inference.export.writing import LEAST_TORCH


@pytest.mark.skipif(torch.__version__ < LEAST_TORCH, reason="an older torch")
def test_a_run_becomes_a_folder_of_graphs(tiny_run: Path, tmp_path: Path) -> None:
    arguments = ["export", "--run", str(tiny_run), "--format", "torch-export", "--data", "tyre", "--limit", "5"]
    result = command_runner().invoke(app, [*arguments, "--out", str(tmp_path / "graphs")], catch_exceptions=False)
    assert result.exit_code == 0
    assert "wrote encode.pt2, decode.pt2, fill_in.pt2, export.json to" in result.stdout
    assert "checked with 5 images: all 640 codes are equal, pictures differ by at most" in result.stdout
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == [
        "decode.pt2",
        "encode.pt2",
        "export.json",
        "fill_in.pt2",
    ]
    described = json.loads((tmp_path / "graphs" / "export.json").read_text())
    assert described["model"] == "vqvae"
    assert described["checked"]["images"] == 5
    assert [each["name"] for each in described["graphs"]["decode"]["inputs"]] == ["codes_codes", "images", "observed", "conditions"]


def test_a_split_needs_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="apply to --data"):
        command_runner().invoke(app, ["export", "--limit", "5", "--out", str(tmp_path)], catch_exceptions=False)
