"""Make the pictures of docs/gallery.md by the commands that stand there, with the models that come with vqkit.

The page names each command above its picture, and this script runs what it finds: a command that no longer works, or writes no such
picture, ends it with an error.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "gallery.md"
STEP = re.compile(
    r"^```\n(?P<commands>.*?)^```\n+(?:!\[[^\]]*\]\(images/gallery/(?P<picture>[\w.-]+)\))?", re.MULTILINE | re.DOTALL
)
MADE = {
    "filled_in.png": "filled/before_after/test_00000.png",
    "several_answers.png": "answers/completions/test_00000.png",
    "drawn.png": "drawn/grid.png",
}
"""Which file that the commands write is which picture of the page."""
LARGEST = 100_000
"""Bytes of a picture."""


def main() -> None:
    """Run the commands of the page in an empty directory and copy the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "gallery", help="Directory of the pictures.")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for commands, picture in steps():
            for command in commands:
                print(command, flush=True)
                words = shlex.split(command)
                subprocess.run([sys.executable, "-m", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            if picture:
                made = Path(folder) / MADE[picture]
                if made.stat().st_size > LARGEST:
                    sys.exit(f"{picture} has {made.stat().st_size:,} bytes; {LARGEST:,} are allowed.")
                shutil.copyfile(made, out / picture)


def steps() -> list[tuple[list[str], str | None]]:
    """The commands of the page, in their order, each group with the picture below it."""
    found = [(step["commands"].splitlines(), step["picture"]) for step in STEP.finditer(PAGE.read_text(encoding="utf-8"))]
    if {picture for _, picture in found if picture} != set(MADE):
        sys.exit(f"docs/gallery.md should show {', '.join(sorted(MADE))}, each below its command.")
    return [(commands, picture) for commands, picture in found if commands[0].startswith("vqkit ")]


if __name__ == "__main__":
    main()
