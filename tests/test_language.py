"""The code and its pages use the field's terms: words that stood in their place do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SUFFIXES = (".py", ".jinja", ".yaml")
SOURCES = sorted(path for path in (ROOT / "src").rglob("*") if path.suffix in SUFFIXES and path.name != "renamed.py")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

PRIVATE_WORDS = {
    "told": "conditioned on, given",
    "foretell": "predict",
    "foretold": "predicted",
    "settle": "discretize, paste, resolve",
    "settled": "discretized, resolved",
    "the game": "adversarial training",
    "the house": "the package",
    "nobody knows": "cannot be assessed",
}
"""Words that the project once used for what the field has a term for, and such a term."""


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_fields_terms_are_used(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found = {
        f"line {number}: '{word}' (better: {better})"
        for number, line in enumerate(text.splitlines(), start=1)
        for word, better in PRIVATE_WORDS.items()
        if re.search(rf"\b{word}\b", line, flags=re.IGNORECASE)
    }
    assert found == set()


def test_a_private_word_would_be_noticed() -> None:
    assert any(re.search(rf"\b{word}\b", "The prior is told a class.") for word in PRIVATE_WORDS)
