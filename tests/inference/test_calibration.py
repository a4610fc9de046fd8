"""The file of what was fitted, and what it changes of completions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from painting import COLOUR, SHAPES, sampler, sections
from vqkit.errors import CheckpointError
from vqkit.inference.calibration import (
    CALIBRATION_FILE,
    Calibration,
    ComponentCalibration,
    read_calibration,
    write_calibration,
)
from vqkit.interfaces.priors import Sampling

FITTED = Calibration(
    "p" * 64,
    "t" * 64,
    32,
    16,
    0.9,
    ("keep belt",),
    1.2,
    {"carcass": ComponentCalibration(slope=0.5, intercept=0.25), "r": ComponentCalibration(deviation=0.125)},
)
BELT = torch.zeros(3, 8, 12, dtype=torch.bool)
BELT[1] = True


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.safetensors"
    assert read_calibration(checkpoint, "p" * 64, "t" * 64) is None
    assert write_calibration(checkpoint, FITTED) == tmp_path / CALIBRATION_FILE
    assert read_calibration(checkpoint, "p" * 64, "t" * 64) == FITTED


@pytest.mark.parametrize(("prior", "tokenizer"), [("q" * 64, "t" * 64), ("p" * 64, "u" * 64)])
def test_one_of_another_prior_or_tokenizer_is_refused(tmp_path: Path, prior: str, tokenizer: str) -> None:
    write_calibration(tmp_path / "model.safetensors", FITTED)
    with pytest.raises(CheckpointError, match="fitted for another prior") as refused:
        read_calibration(tmp_path / "model.safetensors", prior, tokenizer)
    assert "evaluate --calibrate" in refused.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": "warm"},
        {"temperature": float("nan")},
        {"components": {"r": {"deviation": -1.0}}},
        {"components": {"r": {"deviation": float("inf")}}},
        {"components": {"r": {"width": 1}}},
        {"components": []},
        {"other": 1},
    ],
    ids=str,
)
def test_a_broken_file_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = write_calibration(tmp_path / "model.safetensors", FITTED)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_calibration(tmp_path / "model.safetensors", "p" * 64, "t" * 64)
    path.write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_calibration(tmp_path / "model.safetensors", "p" * 64, "t" * 64)


def test_completions_are_drawn_at_the_fitted_temperature_unless_another_is_given() -> None:
    plain, fitted = sampler("observed"), sampler("observed")
    fitted.calibration = FITTED
    given = sections(2), BELT.expand(2, -1, -1, -1), 6
    at_fitted = plain.complete(*given, sampling=Sampling(temperature=1.2))
    assert torch.equal(fitted.complete(*given).images, at_fitted.images)
    assert not torch.equal(plain.complete(*given).images, at_fitted.images)
    other = Sampling(temperature=0.5)
    assert torch.equal(fitted.complete(*given, sampling=other).images, plain.complete(*given, sampling=other).images)
    assert torch.equal(fitted.complete(*given, sampling=other).uncertainty, plain.complete(*given, sampling=other).uncertainty)


def test_the_uncertainty_of_shapes_is_that_of_the_calibrated_probability() -> None:
    fitted = sampler("observed")
    fitted.calibration = FITTED
    drawn = fitted.complete(sections(2), BELT.expand(2, -1, -1, -1), 6)
    number_set = (drawn.images[:, :, 0] > 0).sum(dim=1)
    odds = (number_set + 0.5) / (6 - number_set + 0.5)
    chance = 1 / (1 + torch.exp(-(0.5 * odds.log() + 0.25)))
    torch.testing.assert_close(drawn.uncertainty[:, 0], 2 * (chance * (1 - chance)).sqrt())
    assert bool((drawn.uncertainty[:, 1] == 0).all())


def test_the_uncertainty_of_intensities_has_the_error_of_the_decoder() -> None:
    answers = torch.rand(2, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    spread = FITTED.spread(answers, COLOUR)
    variance = answers.var(dim=1, unbiased=False)
    torch.testing.assert_close(spread[:, 0], (variance[:, 0] + 0.125**2).sqrt())
    torch.testing.assert_close(spread[:, 1:], variance[:, 1:].sqrt())
    assert FITTED.spread(answers[:, :1], COLOUR)[:, 0].unique().tolist() == [0.125]


def test_it_fits_sampling_at_its_temperature_alone() -> None:
    assert FITTED.fits(Sampling(temperature=1.2, seed=7, method="naive"))
    assert not FITTED.fits(Sampling(temperature=1.0)) and not FITTED.fits(Sampling(temperature=1.2, top_k=5))
    assert FITTED.sampling(Sampling(top_k=5, seed=2)) == Sampling(temperature=1.2, top_k=5, seed=2)
    assert SHAPES.components[0] in FITTED.components
