"""At the end of a run: whether something simple fills in better than the model, on validation images."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from vqkit.config import RunConfig, load_config
from vqkit.core.precision import choose_device
from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.evaluation.verdicts import below_floors
from vqkit.storage.checkpoints import load_model
from vqkit.storage.runs import CONFIG_FILE
from vqkit.training.tasks.masks import resolve_mask_kind

CHECKED_IMAGES = 256
"""Validation images that a model is compared on."""


def report_floors(run: Path) -> None:
    """Say in which questions a simple predictor is better than the model of a finished run, and what to try.

    Nothing is said where the model is better in all of them, and of a model that was not trained to fill in.
    """
    if int(os.environ.get("RANK", "0")):  # one of several processes, whose group has ended
        return
    sentences = questions_lost(run)
    if not sentences:
        return
    lines = [f"On {CHECKED_IMAGES} validation images, or all there are, something simple is better than this model:", *sentences]
    lines.append("Try more --steps, more of the same kind of images, or a larger model; vqkit evaluate shows every figure.")
    Console(stderr=True).print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


def questions_lost(run: Path) -> list[str]:
    """A sentence for each question of the kind that the model was trained on, in which a simple predictor is better."""
    config: RunConfig = load_config(run / CONFIG_FILE, {}, [], RunConfig)
    if config.masking.max_probability == 0:
        return []
    device = choose_device(config.training.device)
    loaded = load_model(run, device)
    kind = resolve_mask_kind(config.masking, loaded.model.spec).kind
    holes = kind if kind in ("boxes", "free-form", "half") else "boxes" if kind == "mixed" else "none"
    sets = None if kind in ("components", "components-or-boxes") else ()
    request = EvaluationRequest(split="val", limit=CHECKED_IMAGES, keep_sets=sets, mask_kind=holes)
    return list(below_floors(evaluate(loaded, request, device).parts))
