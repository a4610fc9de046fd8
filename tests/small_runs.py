"""The configuration of runs that take a second or two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TINY: dict[str, Any] = {
    "model": {"name": "vqvae", "hidden": 16, "inner": 16, "blocks": 1, "quantizer": {"num_codes": 32, "dim": 8}},
    "data": {"name": "tyre", "num_train": 96, "num_val": 16, "num_test": 16},
    "masking": {"warmup_epochs": 1},
    "training": {"batch_size": 16, "steps": 20, "warmup_steps": 5, "log_every": 5, "precision": "fp32", "checkpoint_every": 10},
}
"""A configuration that trains in a second or two: 6 steps an epoch, 20 steps."""


TINY_PRIOR: dict[str, Any] = {
    "prior": {"name": "pixelcnn", "channels": 16, "layers": 3},
    "training": {"batch_size": 16, "steps": 20, "warmup_steps": 5, "log_every": 5, "precision": "fp32", "learning_rate": 1e-2},
}
"""A prior that trains in a second or two, on the data of the tokenizer: 6 steps an epoch, 20 steps."""


def tiny(**training: Any) -> dict[str, Any]:
    """The tiny configuration with other training settings."""
    return {**TINY, "training": {**TINY["training"], **training}}


def tiny_prior(tokenizer: Path, *told: str, **training: Any) -> dict[str, Any]:
    """The tiny prior's configuration for a tokenizer, told these conditions, with other training settings."""
    settings = {**TINY_PRIOR["training"], **training}
    return {**TINY_PRIOR, "tokenizer": {"run": str(tokenizer)}, "conditioning": {"condition_on": list(told)}, "training": settings}
