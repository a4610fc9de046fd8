"""The end of a run says where something simple is better than the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vqkit.training import train
from vqkit.training.floor_check import questions_lost, report_floors

QUANTIZER = {"name": "ema", "num_codes": 8, "dim": 4}


def run_on_twins(folder: Path, **masking: object) -> Path:
    """A model without a context, hardly trained, of pictures whose components are equal: a copy is right."""
    drawn = torch.randint(256, (40, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    images = drawn.repeat(1, 2, 1, 1).numpy()
    np.savez(folder / "twins.npz", train=images[:24], val=images[24:32], test=images[32:])
    settings = {
        "model": {
            "name": "vqvae",
            "hidden": 8,
            "inner": 8,
            "context": False,
            "quantizer": {"name": "ema", "num_codes": 8, "dim": 4},
        },
        "data": {"name": "arrays", "path": str(folder / "twins.npz")},
        "masking": {"warmup_epochs": 0, **masking},
        "training": {"steps": 3, "batch_size": 8},
    }
    return train(None, settings, [], folder / "run", "auto").run


def test_a_model_that_loses_to_something_simple_is_said_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_on_twins(tmp_path)
    lost = questions_lost(run)
    assert len(lost) == 2
    assert all("fills in better" in sentence for sentence in lost)
    report_floors(run)
    said = capsys.readouterr().err
    assert "something simple is better than this model" in said
    assert lost[0] in said


def test_only_the_first_of_several_processes_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_on_twins(tmp_path)
    capsys.readouterr()
    monkeypatch.setenv("RANK", "1")
    report_floors(run)
    assert capsys.readouterr().err == ""


def test_a_model_that_was_not_trained_to_fill_in_is_not_compared(tmp_path: Path) -> None:
    assert questions_lost(run_on_twins(tmp_path, max_probability=0.0)) == []


def test_holes_are_compared_with_holes(tmp_path: Path) -> None:
    assert all(sentence.startswith("boxes missing:") for sentence in questions_lost(run_on_twins(tmp_path, kind="boxes")))
