"""Write docs/benchmarks.md from benchmarks/results/*.json: targets, tables, machine and versions of every benchmark."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from generated_page import table, write_or_check

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
NAMES = ("quantizer", "training", "prior_sampling", "folder_encoding")
"""The benchmarks of this page, in its order. Other files of `benchmarks/results` belong to pages of their own."""

HEAD = """# Benchmarks

Written from `benchmarks/results/*.json` by `scripts/benchmarks_page.py`. `make bench` measures again, in about four minutes on
quiet cores: `benchmarks/{quantizer,training,prior_sampling,folder_encoding}.py`.

Whatever is compared is measured in one process, in turns, so that other load on the machine affects all alike. Times are medians of
wall times. A peer that is not installed is left out and named. What models learn is in [Results](results.md); many images and
processes in [Many processes](many_processes.md); compression beside other codecs in [Compression](compression.md).
"""


def figure(value: Any) -> str:
    """A figure as it stands in a table: three significant digits, integers in full, a dash where it is missing."""
    if value is None:
        return "-"
    if isinstance(value, str | int):
        return f"{value:,}" if isinstance(value, int) else value
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"


def targets(reports: Sequence[Mapping[str, Any]]) -> str:
    """All targets and whether they are reached."""
    rows = []
    for target in (target for report in reports for target in report["targets"]):
        measured, wanted = target["measured"], target["wanted"]
        met = measured is not None and (measured <= wanted if target["at_most"] else measured >= wanted)
        bound = f"at {'most' if target['at_most'] else 'least'} {wanted:g}"
        rows.append((target["what"], bound, figure(measured), "not measured" if measured is None else "yes" if met else "no"))
    return table(("target", "wanted", "measured", "reached"), rows)


def chapter(report: Mapping[str, Any]) -> Iterator[str]:
    """One benchmark."""
    yield f"## {report['title']}\n\n{report['about']}\n"
    for each in report["tables"]:
        rows = [tuple(figure(value) for value in row) for row in each["rows"]]
        yield f"### {each['title']}\n\n{table(tuple(each['columns']), rows)}"
        if each["note"]:
            yield f"{each['note']}\n"
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    threads = f"{machine['threads']} thread" + ("s" if machine["threads"] != 1 else "")
    yield (
        f"`benchmarks/{report['benchmark']}.py`, {report['minutes']:g} minutes; {machine['processor']}, {machine['cores']} cores, "
        f"{threads}, load before the start {machine['load_before']:g}; {versions}.\n"
    )


def page(reports: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    return "\n".join([HEAD, targets(reports), *(part for report in reports for part in chapter(report))])


def read() -> list[dict[str, Any]]:
    """The reports that are there, in the order of the page."""
    files = [RESULTS / f"{name}.json" for name in NAMES]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


if __name__ == "__main__":
    write_or_check("docs/benchmarks.md", page(read()), __doc__)
