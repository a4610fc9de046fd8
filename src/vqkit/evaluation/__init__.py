"""Measuring trained models and priors on held-out images: errors, likelihoods, code usage, which component to measure next.

from vqkit.evaluation import EvaluationRequest, evaluate

print(evaluate("runs/tyres").full.psnr)
print(evaluate("runs/tyres", EvaluationRequest(limit=500, mask_kind="boxes")).parts[-1].mean_iou)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "ChoiceRequest": "vqkit.evaluation.next_component",
    "EvaluationRequest": "vqkit.evaluation.requests",
    "PriorEvaluationRequest": "vqkit.evaluation.requests",
    "choose_components": "vqkit.evaluation.next_component",
    "choose_for_image": "vqkit.evaluation.next_component",
    "evaluate": "vqkit.evaluation.autoencoder",
    "evaluate_prior": "vqkit.evaluation.prior",
}
__all__ = [
    "ChoiceRequest",
    "EvaluationRequest",
    "PriorEvaluationRequest",
    "choose_components",
    "choose_for_image",
    "evaluate",
    "evaluate_prior",
]

if TYPE_CHECKING:
    from vqkit.evaluation.autoencoder import evaluate as evaluate
    from vqkit.evaluation.next_component import ChoiceRequest as ChoiceRequest
    from vqkit.evaluation.next_component import choose_components as choose_components
    from vqkit.evaluation.next_component import choose_for_image as choose_for_image
    from vqkit.evaluation.prior import evaluate_prior as evaluate_prior
    from vqkit.evaluation.requests import EvaluationRequest as EvaluationRequest
    from vqkit.evaluation.requests import PriorEvaluationRequest as PriorEvaluationRequest


def __getattr__(name: str) -> Any:
    """The public names, each loaded at its first use: their modules import others of this package."""
    if name not in _PUBLIC:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
