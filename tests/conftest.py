"""A small run that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_runs import tiny
from vqkit.training import train


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run; do not change it."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(None, tiny(), [], run, "auto")
    return run
