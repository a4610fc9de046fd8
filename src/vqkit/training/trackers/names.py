"""Under which name a run is known to a tracker: kept in the run directory, so that a resumed run goes on in its own curves."""

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


def settings_of(run: Path) -> dict[str, object]:
    """The configuration of the run, empty if it has none."""
    path = run / CONFIG_FILE
    return read_config_file(path) if path.is_file() else {}
