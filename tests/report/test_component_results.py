"""Errors of single components in a report: the rows, the table of errors in their own units, and the page of an intensity set."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from vqkit.evaluation.autoencoder import evaluate
from vqkit.evaluation.requests import EvaluationRequest
from vqkit.report.compared_runs import ComparedRun
from vqkit.report.component_results import ComponentResult, component_results_of, error_table
from vqkit.report.measuring import EvaluationProtocol
from vqkit.report.page import About
from vqkit.report.results import to_csv
from vqkit.report.summary import SeedStatistics
from vqkit.report.writing import write_report
from vqkit.training.run import train


def row(model: str, seed: int, scenario: str, component: str, rmse: float | None, kind: str = "components") -> ComponentResult:
    unit = "K" if component == "heat" else ""
    figures = (rmse, rmse, 0.5, 0.1, 10.0, 10.0, 0.9)
    return ComponentResult(model, seed, "run", "model", kind, scenario, component, 3, unit, *figures, iou=None, dice=None)


ROWS = [
    row("vae", 0, "full input", "heat", 1.0, "none"),
    row("vae", 0, "full input", "rain", 1.0, "none"),
    row("vae", 0, "keep a", "rain", 0.02),
    row("vae", 0, "keep a", "heat", 120.0),
    row("vae", 0, "keep b", "heat", 140.0),
    row("vae", 1, "keep a", "heat", 100.0),
    row("vqvae", 0, "keep a", "heat", 90.0),
    row("vqvae", 0, "keep a", "forest", None),
    row("vqvae", 0, "boxes missing", "heat", 5.0, "boxes"),
]


def test_the_table_of_errors_has_a_column_for_each_intensity_and_its_unit() -> None:
    found = error_table("RMSE, components missing", ROWS, "components")
    assert [(column.field, column.title, column.decimals) for column in found.columns] == [
        ("heat", "heat, K", 1),
        ("rain", "rain", 5),
    ]
    assert found.cells["vae"] == [SeedStatistics(115.0, pytest.approx(450**0.5), 2), SeedStatistics(0.02, None, 1)]
    assert found.cells["vqvae"] == [SeedStatistics(90.0, None, 1), None]
    assert found.best == ["vqvae", None]
    assert error_table("none", ROWS, "half").columns == ()


@pytest.fixture(scope="module")
def intensity_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on pictures of two intensities."""
    folder = tmp_path_factory.mktemp("intensities")
    images = torch.randint(256, (24, 2, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8).numpy()
    np.savez(folder / "cells.npz", train_images=images[:12], val_images=images[12:18], test_images=images[18:])
    settings = {
        "model": {"name": "vqvae", "hidden": 8, "inner": 8, "blocks": 0, "quantizer": {"num_codes": 8, "dim": 4}},
        "data": {"name": "arrays", "path": str(folder / "cells.npz")},
        "training": {"batch_size": 4, "steps": 3, "precision": "fp32"},
    }
    train(None, settings, [], folder / "run", "auto")
    return folder / "run"


def test_floors_have_rows_of_their_own_below_the_models() -> None:
    floor = row("floor: mean", 0, "keep a", "heat", 80.0)._replace(seed=None, kind="floor")
    found = error_table("RMSE, components missing", [*ROWS, floor], "components")
    assert list(found.cells) == ["vae", "vqvae"]
    assert found.floors == {"floor: mean": [SeedStatistics(80.0, None, 1), None]}
    assert found.best == ["vqvae", None]


def test_rows_are_those_of_evaluate(intensity_run: Path, tmp_path: Path) -> None:
    result = evaluate(intensity_run, EvaluationRequest(mask_kind="boxes"))
    rows = component_results_of(ComparedRun("vqvae", 3, intensity_run), result, tmp_path)
    full = [each for each in rows if each.mask_kind == "none"]
    assert [each.component for each in full] == list(result.full.components)
    assert [each.rmse for each in full] == [each.rmse for each in result.full.components.values()]
    assert {each.mask_kind for each in rows} == {"none", "components", "boxes"}
    (line, *_) = csv.DictReader(io.StringIO(to_csv(rows, ComponentResult._fields)))
    assert float(line["mae"]) == rows[0].mae
    assert (line["seed"], line["iou"]) == ("3", "")


def test_the_page_says_what_the_ceiling_is(intensity_run: Path, tmp_path: Path) -> None:
    for label, said in (("vqvae", False), ("unet", True)):
        report = write_report([ComparedRun(label, 0, intensity_run)], tmp_path / label, About("a", "b"), EvaluationProtocol(2))
        assert ("The ceiling is <code>unet</code>" in report.page.read_text()) == said


def test_the_page_of_intensities_has_errors_in_their_own_units(intensity_run: Path, tmp_path: Path) -> None:
    run = ComparedRun("vqvae", 0, intensity_run)
    report = write_report([run], tmp_path, About("cells", "vqkit report"), EvaluationProtocol())
    assert report.failed == []
    text = report.page.read_text()
    assert "<h2>Errors of intensities in their own units</h2>" in text
    assert "Not every image holds all components" not in text
    captions = re.findall(r"<caption>(RMSE[^<]*)", text)
    assert captions == ["RMSE, whole images", "RMSE, components missing", "RMSE, boxes missing"]
    with (tmp_path / "components.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    own, floors = ([row for row in rows if row["kind"] == kind] for kind in ("model", "floor"))
    assert len(own) == 2 + 1 + 1 + 2, "full input, each of two components kept alone, and boxes in both"
    assert len(floors) == 7 * (1 + 1) + 7 * 2
    assert {row["model"] for row in floors if row["mask_kind"] == "boxes"} == {
        f"floor: {name}" for name in ("surrounding", "harmonic", "biharmonic", "kriging", "mean-image", "nearest", "nearest10")
    }
    table = text[text.index("<caption>RMSE, components missing") :]
    rmse = next(row["rmse"] for row in floors if (row["model"], row["component"]) == ("floor: linear", rows[0]["component"]))
    line = table[table.index("floor: linear<") : table.index("floor: linear5<")]
    assert f"<td>{float(rmse):.1f}</td>" in line
    assert '<th scope="col">IoU</th>' not in text
    assert all(note in text for note in evaluate(intensity_run, EvaluationRequest(mask_kind="boxes")).notes)
