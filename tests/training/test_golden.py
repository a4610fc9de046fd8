"""A refactoring must not move the losses of a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from golden import FILE, curve


def test_the_losses_of_a_tiny_run_are_the_recorded_ones(tiny_run: Path) -> None:
    # The tolerance leaves room for other processors' order of summation, which grows over the steps, and for nothing else.
    for now, recorded in zip(curve(tiny_run), json.loads(FILE.read_text()), strict=True):
        assert now == pytest.approx(recorded, rel=2e-2)
