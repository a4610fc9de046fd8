"""Startup time of the command line, and the packages it imports: `python benchmarks/startup.py [--out FILE]`.

Each time is the median wall time of a new process, in seconds, including its start.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from common.machine import describe_machine, describe_versions, publish

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import vqkit": ["-c", "import vqkit"],
    "vqkit --help": ["-m", "vqkit", "--help"],
    "vqkit --version": ["-m", "vqkit", "--version"],
}
HEAVY = ("torch", "torchvision", "numpy", "PIL", "matplotlib", "tensorboard", "torchmetrics")


def median_seconds(arguments: list[str], repeats: int) -> float:
    """Median wall time of a process over `repeats` runs, after one warm-up run for the disk cache."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def loaded_by_the_command_line() -> list[str]:
    """The heavy packages imported with the command line; none is expected."""
    code = f"import sys, vqkit.cli.app; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    parser.add_argument("--repeats", type=int, default=11)
    arguments = parser.parse_args()
    report = {
        "benchmark": "startup",
        "machine": describe_machine(),
        "versions": describe_versions("typer", "pydantic", "rich"),
        "median_seconds": {name: round(median_seconds(command, arguments.repeats), 4) for name, command in COMMANDS.items()},
        "heavy_packages_loaded": loaded_by_the_command_line(),
    }
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
