"""What a run finds out about its data stands in run.yaml and in its checkpoints, and stays when the data change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vqkit.config import RunConfig, read_config_file
from vqkit.errors import ConfigError, DataError
from vqkit.evaluation.held_out import open_split
from vqkit.storage.checkpoints import load_model
from vqkit.training.data_identity import DATA_FILE
from vqkit.training.run import train


def save(path: Path, factor: float) -> None:
    drawn = torch.randint(0, 4096, (24, 2, 16, 16), generator=torch.Generator().manual_seed(0)).numpy()
    for number, image in enumerate(drawn):
        for name, plane in zip(("dna", "actin"), image, strict=True):
            (path / name).mkdir(parents=True, exist_ok=True)
            np.save(path / name / f"cell{number}_{name}.npy", (plane * factor).astype(np.uint16))


def settings(data: Path, steps: int, **more: Any) -> dict[str, Any]:
    quantizer = {"num_codes": 16, "dim": 8}
    return {
        "model": {"name": "vqvae", "hidden": 16, "inner": 16, "blocks": 1, "quantizer": quantizer},
        "data": {"name": "components", "path": str(data), **more},
        "training": {"batch_size": 8, "steps": steps, "precision": "fp32", "checkpoint_every": 2},
    }


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    save(tmp_path / "cells", 1)
    train(None, settings(tmp_path / "cells", 2), [], tmp_path / "run", "auto")
    return tmp_path / "run"


def test_ranges_are_recorded_and_said_before_training(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = read_config_file(run / "run.yaml")["data"]
    spec = load_model(str(run)).model.spec
    assert data["range"] == {each.name: [each.low, each.high] for each in spec.component_specs}
    assert data["extremes"] == {each.name: [each.minimum, each.maximum] for each in spec.component_specs}
    assert (data["value_kind"], data["height"], data["width"]) == ("intensity", 16, 16)
    assert load_model(str(run)).data.options["range"] == data["range"]
    train(None, settings(tmp_path / "cells", 2), [], tmp_path / "again", "auto")
    said = capsys.readouterr().err
    assert said.index("one folder a component: actin, dna; 24 train images.") < said.index("Training vqvae")
    assert "actin  uint16, range" in said


@pytest.mark.parametrize("how", ["same command", "--resume"])
def test_a_resumed_run_keeps_its_ranges_when_the_data_change(run: Path, tmp_path: Path, how: str) -> None:
    before = read_config_file(run / "run.yaml")["data"]
    save(tmp_path / "cells", 3)
    (run / DATA_FILE).unlink()  # on purpose
    if how == "--resume":
        train(None, {"training": {"steps": 4}}, [], None, str(run))
    else:
        with pytest.raises(ConfigError, match=r"training\.steps = 2, not 4"):
            train(None, settings(tmp_path / "cells", 4), [], run, "auto")
        train(None, settings(tmp_path / "cells", 2), [], run, "auto")
    assert read_config_file(run / "run.yaml")["data"] == before
    assert load_model(str(run)).model.spec.component_specs[0].maximum < 4096


def test_another_range_is_another_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"was trained with data\.range"):
        train(None, settings(tmp_path / "cells", 2, range=[0, 100]), [], run, "auto")
    assert RunConfig.model_validate(read_config_file(run / "run.yaml")).data.options["range"]["dna"][1] > 100


def test_other_data_are_read_without_these_ranges(run: Path, tmp_path: Path) -> None:
    loaded = load_model(str(run))
    save(tmp_path / "others", 9)
    others = open_split(loaded, str(tmp_path / "others"), "val").spec
    assert others.component_specs[0].maximum > 4096
    for number in range(4):
        for name in ("nir", "red"):
            (tmp_path / "bands" / name).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "bands" / name / f"{number}_{name}.npy", np.arange(256, dtype=np.uint16).reshape(16, 16))
    with pytest.raises(DataError, match=r"components \(nir, red\).*the model was trained on 2 intensity components \(actin, dna\)"):
        open_split(loaded, str(tmp_path / "bands"), "val")
