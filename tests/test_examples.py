"""Every example runs, in a directory of its own, in a short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from processes import run_script

EXAMPLES = Path(__file__).parent.parent / "examples"
ARGUMENTS = {
    "fill_in.py": ["4"],
    "sample_and_complete.py": ["4"],
    "codes.py": ["RUN"],
    "add_a_dataset.py": ["4"],
    "add_a_model.py": ["4"],
    "hierarchical_prior.py": ["4"],
}


def test_no_example_is_forgotten() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(ARGUMENTS)


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
def test_example(name: str, tiny_run: Path, tmp_path: Path) -> None:
    arguments = [str(tiny_run) if argument == "RUN" else argument for argument in ARGUMENTS[name]]
    run_script(EXAMPLES / name, *arguments, directory=tmp_path)
