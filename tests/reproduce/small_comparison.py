"""A comparison that takes a few seconds: two models, two seeds, trained in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from small_runs import TINY
from vqkit.report.writing import Report
from vqkit.reproduce.planning import Job, resolved_config
from vqkit.training.run import train

MODELS = ("vqvae", "vae")
WITH_ENCODER = "vae+simclr"


def tiny_preset(folder: Path, **changes: Any) -> str:
    """The path of a preset that trains for a second."""
    content = {
        "summary": "Tiny.",
        "seeds": [0, 1],
        "run": {
            "training": {**TINY["training"], "steps": 4, "log_every": 2, "checkpoint_every": 2},
            "masking": {"warmup_epochs": 0},
        },
        "network": {"hidden": 16, "inner": 8},
        "models": {"vqvae": {"quantizer": {"num_codes": 32, "dim": 8}}, "vae": {"latent_dim": 4}},
        "data": {"tyre": {"run": {"data": {"num_train": 64, "num_val": 8, "num_test": 16}}}},
        "pretraining": {"run": {"training": {"steps": 2, "batch_size": 8, "checkpoint_every": 1, "log_every": 1, "workers": 0}}},
        "test_images": 6,
        "bound_images": 2,
        "bound_samples": 3,
        **changes,
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content))
    return str(file)


class CountingTrainer:
    """Trains in this process and notes what it trained."""

    def __init__(self) -> None:
        self.trained: list[str] = []

    def __call__(self, job: Job) -> Iterator[str]:
        self.trained.append(job.run.name)
        yield "training"
        train(None, resolved_config(job).model_dump(mode="json"), [], job.run, "auto", type(job.config))


class Compared(NamedTuple):
    """A finished comparison."""

    out: Path
    preset: str
    report: Report
    trained: list[str]
