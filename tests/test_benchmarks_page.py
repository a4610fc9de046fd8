"""The page of benchmarks is made from the files of results alone, and says which targets are missed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import benchmarks_page  # noqa: E402 - a script, found by its directory
from benchmarks_page import figure, page, targets  # noqa: E402

REPORT: dict[str, Any] = {
    "benchmark": "quantizer",
    "title": "Quantizers",
    "about": "Beside a peer.",
    "machine": {"processor": "a processor", "cores": 2, "threads": 1, "load_before": 0.5},
    "versions": {"python": "3.10", "torch": "2.13"},
    "minutes": 1.5,
    "targets": [
        {"what": "training", "wanted": 4, "measured": 5.25, "at_most": False},
        {"what": "folder", "wanted": 4, "measured": 4.5, "at_most": True},
        {"what": "absent", "wanted": 15, "measured": None, "at_most": False},
    ],
    "tables": [{"title": "Shapes", "columns": ["codes", "ms"], "rows": [[16384, 0.01234], [512, None]], "note": "A note."}],
}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "-"),
        (65536, "65,536"),
        (1234.6, "1,235"),
        (123.4, "123"),
        (12.34, "12.3"),
        (1.234, "1.23"),
        (0.0123, "0.0123"),
        (0.0, "0"),
    ],
)
def test_figures_have_three_digits(value: float | None, words: str) -> None:
    assert figure(value) == words


def test_targets_are_reached_missed_or_not_measured() -> None:
    lines = targets([REPORT]).splitlines()[2:]
    assert lines == [
        "| training | at least 4 | 5.25 | yes |",
        "| folder | at most 4 | 4.50 | no |",
        "| absent | at least 15 | - | not measured |",
    ]


def test_the_page_has_every_table_with_machine_and_versions() -> None:
    text = page([REPORT])
    assert "### Shapes\n\n| codes | ms |\n| --- | --- |\n| 16,384 | 0.0123 |\n| 512 | - |\n\nA note.\n" in text
    assert "1.5 minutes; a processor, 2 cores, 1 thread, load before the start 0.5; python 3.10, torch 2.13." in text


def test_the_page_in_the_documentation_is_that_of_the_results() -> None:
    written = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert written == page(benchmarks_page.read()), "python scripts/benchmarks_page.py writes it"
