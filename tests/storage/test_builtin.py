"""The models in the box: whole, small, as good as recorded, and only read."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from vqkit.errors import CheckpointError
from vqkit.storage.builtin import BUILTIN, FOLDER, builtin_file, builtin_of, is_builtin
from vqkit.storage.checkpoints import load_model, load_prior
from vqkit.storage.runs import locate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/pretrained.py, which made the models and measured them."""
    found = importlib.util.spec_from_file_location("pretrained", ROOT / "scripts" / "pretrained.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_each_is_named_and_found() -> None:
    assert locate("builtin:tyre") == builtin_file("builtin:tyre")
    assert locate("builtin:tyre-prior", kind="prior").is_file()
    assert [builtin_of(kind) for kind in ("model", "prior")] == ["builtin:tyre", "builtin:tyre-prior"]
    with pytest.raises(CheckpointError, match="no built-in model 'tire'") as caught:
        locate("builtin:tire")
    assert "tyre" in caught.value.hint


def test_files_are_small_and_those_that_were_measured() -> None:
    recorded = json.loads((FOLDER / "figures.json").read_text())
    assert recorded["bytes"] == {name: builtin_file(f"builtin:{name}").stat().st_size for name in BUILTIN}
    assert sum(recorded["bytes"].values()) < 3_000_000
    prior = load_prior("builtin:tyre-prior")
    assert recorded["digests"] == {"tyre": load_model("builtin:tyre").digest, "tyre-prior": prior.digest}
    assert prior.tokenizer == builtin_file("builtin:tyre")


def test_commands_name_configurations_that_there_are() -> None:
    recorded = json.loads((FOLDER / "figures.json").read_text())
    named = [word for command in recorded["commands"].values() for word in command.split() if word.startswith("configs/")]
    assert len(named) == 2
    assert all((ROOT / name).is_file() for name in named)


def test_they_reach_the_recorded_figures(script: ModuleType) -> None:
    recorded = json.loads((FOLDER / "figures.json").read_text())
    measured = script.measure()
    for name in ("test_images", "iou_reconstructed", "iou_filled_in", "nats_per_code"):
        assert measured[name] == pytest.approx(recorded[name], abs=2e-3), name
    # What a model in the box is for: it fills in far better than chance, and the prior knows more than the number of codes.
    assert recorded["iou_filled_in"]["group_nc"] > 0.6
    assert recorded["nats_per_code"]["unconditional"] < 3


def test_nothing_beside_them_is_theirs(tmp_path: Path) -> None:
    assert is_builtin(builtin_file("builtin:tyre"))
    assert not is_builtin(tmp_path / "tyre" / "model.safetensors")
