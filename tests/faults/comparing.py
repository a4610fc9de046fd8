"""Whether a directory holds the same results as another: every file that is left, but for times and what only one process uses."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

_PARTIAL = re.compile(r"\..+\.[0-9]+\.partial(\..*)?")
_OF_ONE_PROCESS = {"tensorboard", ".lock", "logs"}
_TIMES = {"images_per_second", "seconds", "train_seconds"}
_REPORT = {".html", ".md", ".csv", ".png", ".svg", ".json"}


def results(box: Path, but: str = "given") -> dict[str, str]:
    """A digest of every result in a directory, by its path. Temporary files of killed processes are left out: see `leftovers`."""
    found = {}
    for path in sorted(box.rglob("*")):
        name = path.relative_to(box)
        if not path.is_file() or name.parts[0] == but or _OF_ONE_PROCESS & set(name.parts) or _is_partial(name):
            continue
        if name.parts[0] == "report" and "runs" not in name.parts and path.suffix in _REPORT:
            found[str(name)] = "there"  # tells how long each training took
        else:
            found[str(name)] = hashlib.sha256(_content(path)).hexdigest()
    return found


def leftovers(box: Path) -> list[str]:
    """Temporary files and directories of processes that were killed."""
    return [str(path.relative_to(box)) for path in box.rglob(".*") if _PARTIAL.fullmatch(path.name)]


def _is_partial(name: Path) -> bool:
    return any(_PARTIAL.fullmatch(part) for part in name.parts)


def _content(path: Path) -> bytes:
    """The content of a file, without times."""
    content = path.read_bytes()
    if path.name == "metrics.jsonl":
        rows = [json.loads(line) for line in content.splitlines()]
        return json.dumps([{name: value for name, value in row.items() if name not in _TIMES} for row in rows]).encode()
    if path.name == "measurement.json":
        return b"there"
    return content
