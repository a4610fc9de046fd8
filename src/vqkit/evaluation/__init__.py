"""Measuring trained models: errors on what was missing, likelihoods, use of codes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {"evaluate": "vqkit.evaluation.autoencoder", "evaluate_prior": "vqkit.evaluation.prior"}
__all__ = ["evaluate", "evaluate_prior"]

if TYPE_CHECKING:
    from vqkit.evaluation.autoencoder import evaluate as evaluate
    from vqkit.evaluation.prior import evaluate_prior as evaluate_prior


def __getattr__(name: str) -> Any:
    """The public names, each loaded at its first use: their modules import others of this package."""
    if name not in _PUBLIC:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
