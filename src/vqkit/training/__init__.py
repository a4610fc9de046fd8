"""Training: from a command line to a finished run."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {"train": "vqkit.training.run"}
__all__ = ["train"]

if TYPE_CHECKING:
    from vqkit.training.run import train as train


def __getattr__(name: str) -> Any:
    """The public names, each loaded at its first use: their modules import others of this package."""
    if name not in _PUBLIC:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
