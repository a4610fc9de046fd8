"""The golden curve: losses of a tiny run, to be noticed when a change moves them.

`make golden` writes tests/golden/tiny_run.json anew; do so only when the change was meant.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from small_runs import tiny
from vqkit.training.run import train

FILE = Path(__file__).parent / "golden" / "tiny_run.json"


def curve(run: Path) -> list[dict[str, float]]:
    """The training losses that a run recorded at its steps."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = ("step", "train/loss", "train/recon", "train/commit", "train/mask_p")
    return [{name: row[name] for name in names} for row in rows if "images_per_second" in row]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        train(None, tiny(), [], Path(directory) / "run", "auto")
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(curve(Path(directory) / "run"), indent=1) + "\n")
    sys.stdout.write(f"wrote {FILE}\n")
