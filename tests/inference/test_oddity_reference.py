"""Scores and shares beside those of validation images, against plain numbers; what is kept beside a prior."""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vqkit.inference.oddity import SIGNALS
from vqkit.inference.oddity_reference import FORMAT, REFERENCE_FILE, SCORES, OddityReference, read_reference, write_reference

BITS, PEAK, ERROR = [4.0, 5, 6, 5, 7], [9.0, 8, 12, 9, 10], [0.01, 0.02, 0.02, 0.05, 0.03]
REFERENCE = OddityReference("p", "t", {"bits": BITS, "peak": PEAK, "error": ERROR}, {"bits": PEAK, "error": ERROR})
NEW = {"bits": torch.tensor([5.4, 3, 9]), "peak": torch.tensor([9.5, 5, 20]), "error": torch.tensor([0.02, 0.001, 0.2])}


def test_scores_are_deviations_in_standard_deviations() -> None:
    found = REFERENCE.scores({name: values.double() for name, values in NEW.items()})
    assert list(found) == list(SCORES)
    peaks, errors = ([math.log(value) for value in values] for values in (PEAK, ERROR))
    for number in range(3):
        bits, peak, error = (float(NEW[name][number]) for name in SIGNALS)
        assert float(found["bits"][number]) == pytest.approx(bits)
        typicality = abs(bits - statistics.mean(BITS)) / statistics.stdev(BITS)
        assert float(found["typicality"][number]) == pytest.approx(typicality, rel=1e-6)
        above = [
            max(0.0, (math.log(value) - statistics.mean(usual)) / statistics.stdev(usual))
            for value, usual in ((peak, peaks), (error, errors))
        ]
        expected = math.sqrt(typicality**2 + sum(each**2 for each in above))
        assert float(found["combined"][number]) == pytest.approx(expected, rel=1e-6)
    assert float(found["combined"][1]) == pytest.approx(float(found["typicality"][1]))  # simple, which is odd, and easy


def test_shares_count_the_validation_images_that_score_as_high_and_the_image_itself() -> None:
    values = torch.tensor([3.0, 4, 5, 5.5, 7, 8, math.nan])
    shares = REFERENCE.share_above("bits", values)
    expected = [(1 + sum(each >= value for each in BITS)) / 6 for value in values[:-1].tolist()]
    assert shares[:-1].tolist() == pytest.approx(expected) and bool(shares[-1].isnan())
    typical = [abs(value - statistics.mean(BITS)) / statistics.stdev(BITS) for value in BITS]
    assert float(REFERENCE.share_above("typicality", torch.tensor([0.7]))) == (1 + sum(each >= 0.7 for each in typical)) / 6


def test_figures_scale_with_what_ninety_nine_of_a_hundred_do_not_exceed() -> None:
    many = replace(REFERENCE, largest={"bits": [float(value) for value in range(101)], "error": ERROR})
    assert many.usual_largest("bits") == 99


def test_what_is_kept_is_read_for_the_same_prior_and_tokenizer(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.safetensors"
    assert read_reference(checkpoint, "p", "t") is None
    assert write_reference(checkpoint, REFERENCE) == tmp_path / REFERENCE_FILE
    assert read_reference(checkpoint, "p", "t") == REFERENCE
    assert read_reference(checkpoint, "other", "t") is None and read_reference(checkpoint, "p", "other") is None
    write_reference(checkpoint, replace(REFERENCE, format=FORMAT + 1))
    assert read_reference(checkpoint, "p", "t") is None


@pytest.mark.parametrize(
    "change",
    [
        {"signals": {"bits": BITS, "peak": PEAK}},
        {"signals": {"bits": BITS[1:], "peak": PEAK, "error": ERROR}},
        {"signals": {"bits": BITS[:1], "peak": PEAK[:1], "error": ERROR[:1]}, "largest": {"bits": [1.0], "error": [1.0]}},
        {"largest": {"bits": PEAK, "error": ["a"] * 5}},
        {"largest": {"bits": PEAK, "error": [math.inf] * 5}},
        {"largest": None},
        {"more": 1},
        None,
    ],
)
def test_what_is_broken_is_measured_again(tmp_path: Path, change: dict[str, object] | None) -> None:
    write_reference(tmp_path / "model.safetensors", REFERENCE)
    file = tmp_path / REFERENCE_FILE
    content = json.loads(file.read_text())
    file.write_text("{" if change is None else json.dumps({**content, **change}))
    assert read_reference(tmp_path / "model.safetensors", "p", "t") is None
