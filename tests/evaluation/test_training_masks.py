"""Whether a model was trained to fill in what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.mask_scenarios import mask_scenarios
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.evaluation.training_masks import unfamiliar_masks
from vqkit.interfaces import DataSpec

BANDS = DataSpec.uniform("bands", ("a", "b"), 16, 16, "intensity")


def said(folder: Path, text: str, mask_kind: str, components: int = 2) -> list[str]:
    (folder / "run.yaml").write_text(text)
    checkpoint = folder / "checkpoints" / "step-00000001" / "model.safetensors"
    return list(unfamiliar_masks(checkpoint, components, mask_scenarios(BANDS, None, mask_kind)))


@pytest.mark.parametrize(
    ("trained", "measured", "unfamiliar"),
    [
        ("auto", "boxes", ["boxes"]),
        ("components", "none", []),
        ("components", "half", ["half"]),
        ("components-or-boxes", "boxes", []),
        ("components-or-boxes", "free-form", ["free-form"]),
        ("boxes", "boxes", ["components"]),
        ("free-form", "boxes", ["boxes", "components"]),
        ("mixed", "half", ["components"]),
    ],
)
def test_masks_that_a_model_has_not_seen_are_named(trained: str, measured: str, unfamiliar: list[str], tmp_path: Path) -> None:
    found = said(tmp_path, f"masking: {{kind: {trained}}}", measured)
    kind = "components" if trained == "auto" else trained
    assert found == [
        f"{each} missing: the model was not trained to fill in these, but with masking.kind={kind}." for each in unfamiliar
    ]


def test_images_of_one_component_have_boxes_by_default(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("masking: {kind: auto}")
    grey = mask_scenarios(DataSpec.uniform("digits", ("grey",), 16, 16, "intensity"))
    assert list(unfamiliar_masks(tmp_path / "model.safetensors", 1, grey)) == []


@pytest.mark.parametrize("text", ["", "masking: 3", "masking: {kind: holes}", "model: {name: vqvae}", ": ["])
def test_nothing_is_said_of_a_run_without_known_masks(text: str, tmp_path: Path) -> None:
    assert said(tmp_path, text, "boxes") == []


def test_nothing_is_said_outside_of_a_run(tmp_path: Path) -> None:
    assert list(unfamiliar_masks(tmp_path / "model.safetensors", 2, mask_scenarios(BANDS, None, "boxes"))) == []


def test_evaluate_says_so(tiny_run: Path) -> None:
    sentence = "boxes missing: the model was not trained to fill in these, but with masking.kind=components."
    assert sentence in evaluate(tiny_run, EvaluationRequest(limit=2, mask_kind="boxes", keep_sets=[])).notes
    assert sentence not in evaluate(tiny_run, EvaluationRequest(limit=2)).notes
