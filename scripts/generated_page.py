"""What the generators of documentation share: write a page, or check that it is what would be written."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_check(name: str, text: str, description: str | None) -> None:
    """Write the file `name`; with `--check` on the command line, leave with 1 when it differs from `text` instead."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    page = ROOT / name
    if not parser.parse_args().check:
        page.write_text(text, encoding="utf-8")
    elif not page.is_file() or page.read_text(encoding="utf-8") != text:
        print(f"{name} is out of date: run `make docs`.", file=sys.stderr)
        sys.exit(1)


def cell(text: str) -> str:
    """Text fit for a cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(cell(text) for text in line)} |\n" for line in lines)
