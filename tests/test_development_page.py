"""The examples of the page on development work as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from processes import run_script

PAGE = Path(__file__).parent.parent / "docs" / "development.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES: dict[str, str] = dict(re.findall(r"^### A (.+?)\n.*?^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))


def test_every_kind_of_part_has_an_example() -> None:
    assert set(EXAMPLES) == {"quantizer", "model", "prior", "data set", "pretraining method"}
    assert TEXT.count("```python\n") == len(EXAMPLES)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which all examples have run, in one process."""
    directory = tmp_path_factory.mktemp("examples")
    for heading, code in EXAMPLES.items():
        (directory / f"{heading.replace(' ', '_')}.py").write_text(code, encoding="utf-8")
    files = [f"{heading.replace(' ', '_')}.py" for heading in EXAMPLES]
    (directory / "all.py").write_text(f"import runpy\nfor file in {files}: runpy.run_path(file)", encoding="utf-8")
    run_script(directory / "all.py", directory=directory)
    return directory


@pytest.mark.parametrize("run", ["steps", "two-maps", "frequencies", "dots", "agree"])
def test_the_example_trains(run: str, output: Path) -> None:
    assert (output / "runs" / run / "latest").exists()
    assert (output / "runs" / run / "metrics.jsonl").read_text(encoding="utf-8").count("train/loss") >= 1
