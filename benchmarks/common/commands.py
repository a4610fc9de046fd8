"""Commands of vqkit, typed by a benchmark."""

from __future__ import annotations

import subprocess
import sys


def vqkit(*typed: str) -> str:
    """The output of a command, whose messages are shown as it runs."""
    return subprocess.run([sys.executable, "-m", "vqkit", *typed], stdout=subprocess.PIPE, text=True, check=True).stdout
