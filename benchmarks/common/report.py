"""What a benchmark of the page docs/benchmarks.md reports: tables, targets, the machine and the versions, as JSON."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common.machine import describe_machine, describe_versions, publish

Cell = str | int | float | None


class Table(NamedTuple):
    """Rows of figures under a title; None in a row is a figure that is missing, `note` says what the columns mean."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    note: str = ""


class Target(NamedTuple):
    """A figure that is to be reached: `measured` at least `wanted`, or at most where `at_most`; None: its peer is missing."""

    what: str
    wanted: float
    measured: float | None
    at_most: bool = False


def arguments(description: str | None, seconds: float) -> argparse.ArgumentParser:
    """The options of every benchmark; `seconds` is the default of --seconds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=seconds, help=f"time for each comparison, about; default: {seconds:g}")
    parser.add_argument("--threads", type=int, default=1, help="default: 1, which is fair where other programs use the cores")
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    return parser


class Report:
    """Collects what a benchmark measures, and writes it. The machine's load is that at the start."""

    def __init__(self, name: str, title: str, about: str, given: argparse.Namespace, packages: Sequence[str] = ()) -> None:
        torch.set_num_threads(given.threads)
        self._out: Path | None = given.out
        self._started = time.perf_counter()
        self._content: dict[str, Any] = {
            "benchmark": name,
            "title": title,
            "about": about,
            "machine": describe_machine(),
            "versions": describe_versions(*packages),
        }
        self.tables: list[Table] = []
        self.targets: list[Target] = []

    def write(self) -> None:
        """Print the report, and write it if a file was given."""
        measured = {
            "minutes": round((time.perf_counter() - self._started) / 60, 1),
            "targets": [target._asdict() for target in self.targets],
            "tables": [table._asdict() for table in self.tables],
        }
        publish({**self._content, **measured}, self._out)


def least(values: Sequence[float | None]) -> float | None:
    """The smallest of several ratios; None where one of them is missing."""
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None
