"""Small runs that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vqkit.training import train

TINY: dict[str, Any] = {
    "model": {"name": "vqvae", "hidden": 16, "inner": 16, "blocks": 1, "quantizer": {"num_codes": 32, "dim": 8}},
    "data": {"name": "tyre", "num_train": 96, "num_val": 16, "num_test": 16},
    "masking": {"warmup_epochs": 1},
    "training": {"batch_size": 16, "steps": 20, "warmup_steps": 5, "log_every": 5, "precision": "fp32", "checkpoint_every": 10},
}
"""A configuration that trains in a second or two: 6 steps an epoch, 20 steps."""


def tiny(**training: Any) -> dict[str, Any]:
    """The tiny configuration with other training settings."""
    return {**TINY, "training": {**TINY["training"], **training}}


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run; do not change it."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(None, tiny(), [], run, "auto")
    return run
