"""A small run that several tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from small_runs import tiny, tiny_prior
from vqkit.config import PriorRunConfig
from vqkit.training.run import train


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--one-core", action="store_true", help="with -n: keep each worker, and what it starts, on one core")


def pytest_configure(config: pytest.Config) -> None:
    """One thread in all tests: sums, and so the last bits of a model, depend on how many there are."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for processes that tests start; trainings do not measure then, either
    torch.set_num_threads(1)
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker and config.getoption("one_core") and hasattr(os, "sched_setaffinity"):  # macOS has none: one thread must do
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished tiny run; do not change it."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    train(None, tiny(), [], run, "auto")
    return run


@pytest.fixture(scope="session")
def tiny_prior_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a prior over the codes of the tiny run, told metadata; do not change it."""
    run = tmp_path_factory.mktemp("priors") / "tiny-prior"
    train(None, tiny_prior(tiny_run, "metadata"), [], run, "auto", PriorRunConfig)
    return run


@pytest.fixture(scope="session")
def tiny_completing_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a prior that completes partly seen images; do not change it."""
    run = tmp_path_factory.mktemp("priors") / "tiny-completing"
    train(None, tiny_prior(tiny_run, "observed", "metadata"), [], run, "auto", PriorRunConfig)
    return run
