"""A training set that is smaller than the default batch is trained on whole, and nothing has to be set for that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from small_runs import TINY
from vqkit.config import RunConfig, read_config_file
from vqkit.errors import ConfigError
from vqkit.storage.runs import CONFIG_FILE
from vqkit.training.run import train
from vqkit.training.small_sets import with_fitting_batch


def settings(**training: Any) -> dict[str, Any]:
    """Of 24 images, with the default batch of 64 unless `training` has another."""
    return {
        **TINY,
        "data": {"name": "tyre", "num_train": 24, "num_val": 4, "num_test": 4},
        "training": {"steps": 2, "precision": "fp32", **training},
    }


def test_the_default_batch_is_a_smaller_set_and_the_same_command_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train(None, settings(), [], run, "auto")
    assert "batches of 24, because there are 24 training images" in capsys.readouterr().err
    assert read_config_file(run / CONFIG_FILE)["training"]["batch_size"] == 24
    assert train(None, settings(), [], run, "auto").steps == 2
    with pytest.raises(ConfigError, match=r"trained with training\.batch_size = 24, not 12"):
        train(None, settings(batch_size=12), [], run, "auto")


def test_a_batch_that_was_asked_for_is_not_lowered(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="batch size 64 is larger than the training set of 24 images"):
        train(None, settings(batch_size=64), [], tmp_path / "run", "auto")


@pytest.mark.parametrize(
    ("images", "processes", "accumulate", "expected"),
    [(64, 1, 1, 64), (63, 1, 1, 63), (63, 4, 1, 60), (63, 4, 2, 56), (7, 4, 2, 64), (1, 1, 1, 64)],
)
def test_processes_and_passes_share_it_equally(
    monkeypatch: pytest.MonkeyPatch, images: int, processes: int, accumulate: int, expected: int
) -> None:
    monkeypatch.setattr("vqkit.core.distributed.world_size", lambda: processes)
    config = RunConfig.model_validate({"training": {"accumulate": accumulate}})
    assert with_fitting_batch(config, images).training.batch_size == expected
