"""Under which name a run is known to a tracker, and how far it got there: kept in the run directory, for a run that is resumed."""

from __future__ import annotations

from pathlib import Path

from vqkit.config import read_config_file
from vqkit.core.atomic import write_text
from vqkit.storage.runs import CONFIG_FILE, read_pointer


def kept_name(run: Path, file: str, step: int) -> str | None:
    """The name in <run>/`file`; None for a run that starts, or that was not tracked so far."""
    return read_pointer(run / file) if step else None


def keep_name(run: Path, file: str, name: str) -> None:
    """Write the name into <run>/`file`."""
    write_text(run / file, name + "\n")


def recorded_until(run: Path, file: str, recorded: int) -> int:
    """The last step that a tracker holds of a run that resumes, which is written into <run>/`file`.

    `recorded`: the last step in metrics.jsonl. That file is cut to the checkpoint at every resume, and a run that is interrupted
    again before it got as far holds less in it than the tracker does.
    """
    earlier = read_pointer(run / file) or ""
    until = max(recorded, int(earlier) if earlier.isdecimal() else 0)
    write_text(run / file, f"{until}\n")
    return until


def settings_of(run: Path) -> dict[str, object]:
    """The configuration of the run, empty if it has none."""
    path = run / CONFIG_FILE
    return read_config_file(path) if path.is_file() else {}
