"""A refactoring must not move the losses of a run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from golden import FILE, NAMES, golden_losses, torch_version

TOLERANCE = 1e-5
"""Relative. Processors sum in different orders: between the instruction sets of one machine, the losses of these 20 steps differ
by at most 2.1e-6. On one kind of machine they are equal."""

CONSTRAINTS = FILE.parents[2] / "constraints.txt"
RECORDED = json.loads(FILE.read_text())


def test_the_golden_losses_are_those_of_the_pinned_torch() -> None:
    """Once another torch is pinned, the losses have to be recorded anew (`make golden`): nothing would compare them otherwise."""
    pinned = re.search(r"^torch==(\d+\.\d+)", CONSTRAINTS.read_text(), flags=re.MULTILINE)
    assert pinned is not None
    assert RECORDED["torch"] == pinned[1]


@pytest.mark.skipif(torch_version() != RECORDED["torch"], reason="torch may draw other random numbers in another release")
@pytest.mark.parametrize("name", NAMES)
def test_the_losses_of_a_tiny_run_are_the_recorded_ones(name: str, tiny_run: Path, tmp_path: Path) -> None:
    for row, expected in zip(golden_losses(name, tiny_run, tmp_path / "run"), RECORDED[name], strict=True):
        assert row == pytest.approx(expected, rel=TOLERANCE)
