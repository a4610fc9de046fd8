"""Disturbs commands that write, runs them again, and compares all final files with an undisturbed run's: `make test-faults`.

Kills come at random moments and before chosen file operations. Every disturbance is a function of the seed and its number, except
for the moments, which depend on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from comparing import leftovers, results
from disturbances import Ended, at_operation, counted, die, file_limit, full, jumping_clock, read_only, run, start, wait
from scenarios import SCENARIOS, Scenario, make_given_files

import vqkit.data.packing
import vqkit.evaluation.autoencoder
import vqkit.inference.sampler
import vqkit.training.run  # noqa: F401

KINDS = ("kill at a moment", "kill before an operation", "full disk", "read-only", "file limit", "clock jumps", "two writers")
_TRIES = 60


class Suite:
    """Scenarios in one directory, which is made anew for every trial: paths are part of some results."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._box, self._seed = root, root / "box", seed
        self._given = root / "given"
        self._reference: dict[str, tuple[dict[str, str], float, int]] = {}
        self.counts: dict[tuple[str, str], Counter[str]] = {}
        self.left = 0
        self._box.mkdir()
        with contextlib.redirect_stderr(io.StringIO()):
            make_given_files(self._box)
        (self._box / "given").rename(self._given)

    def trial(self, scenario: Scenario, kind: str, number: int) -> None:
        """Disturb a command once, let it run again, and compare."""
        expected, seconds, operations = self._undisturbed(scenario)
        draw = random.Random(f"{self._seed}-{scenario.name}-{kind}-{number}")
        self._fresh()
        complaint = self._disturb(scenario, kind, draw, seconds, operations)
        again = self._until_free(scenario)
        if again.code:
            complaint = complaint or f"run again, it ended with {again.code}: {again.printed[-400:]}"
        found = results(self._box)
        different = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if different:
            complaint = complaint or f"different: {', '.join(different[:5])}"
        left = leftovers(self._box)
        self.left += len(left)
        if scenario.is_run and left:
            complaint = complaint or f"left over in the run: {', '.join(left[:5])}"
        self.counts.setdefault((scenario.name, kind), Counter())["fault" if complaint else "equal"] += 1
        if complaint:
            print(f"{scenario.name}, {kind} {number}: {complaint}", flush=True)

    def _disturb(self, scenario: Scenario, kind: str, draw: random.Random, seconds: float, operations: int) -> str | None:
        """Run a command with a disturbance. What is wrong with how it ended, if anything."""
        box, at = self._box, draw.randint(1, max(1, operations))
        if kind == "kill at a moment":
            run(box, scenario.command, kill_after=draw.uniform(0, seconds))
        elif kind == "kill before an operation":
            run(box, scenario.command, at_operation(at, die, box))
        elif kind in ("full disk", "read-only"):
            refuse = full if kind == "full disk" else read_only
            return _judge(run(box, scenario.command, at_operation(at, refuse, box, lasting=True)))
        elif kind == "file limit":
            return _judge(run(box, scenario.command, file_limit(draw.choice((0, 100, 5_000, 50_000, 200_000)))))
        elif kind == "clock jumps":
            return _judge(run(box, scenario.command, jumping_clock(draw.randrange(2**30))))
        elif kind == "two writers":
            first, second = start(box, scenario.command), start(box, scenario.command, log="second.log")
            ended = [wait(first), wait(second)]
            complaint = next((said for each in ended if (said := _judge(each))), None)
            if scenario.is_run and complaint is None and sorted(each.code for each in ended) not in ([0, 2], [0, 0]):
                return f"the two ended with {[each.code for each in ended]}"
            return complaint
        return None

    def _undisturbed(self, scenario: Scenario) -> tuple[dict[str, str], float, int]:
        """Results, seconds and number of file operations of the command alone."""
        if scenario.name not in self._reference:
            self._fresh()
            count = self._root / "count"
            ended = run(self._box, scenario.command, counted(self._box, count))
            if ended.code:
                sys.exit(f"{scenario.name} fails undisturbed: {ended.printed}")
            self._reference[scenario.name] = results(self._box), ended.seconds, int(count.read_text())
        return self._reference[scenario.name]

    def _until_free(self, scenario: Scenario) -> Ended:
        """Run the command again; processes that a killed one had started may hold its directory for a while."""
        for _ in range(_TRIES):
            again = run(self._box, scenario.command)
            if not (scenario.processes and again.code == 2 and "Another vqkit" in again.printed):
                break
            time.sleep(1)
        return again

    def _fresh(self) -> None:
        shutil.rmtree(self._box)
        self._box.mkdir()
        shutil.copytree(self._given, self._box / "given")


def _judge(ended: Ended) -> str | None:
    """What is wrong with an ending: none but success and a clear error, without a traceback, is right."""
    if "Traceback" in ended.printed or ended.code not in (0, 2):
        return f"ended with {ended.code}: {ended.printed[-1500:]}"
    if ended.code == 2 and not any(said in ended.printed for said in ("Cannot write or read ", "in use by process", "exists")):
        return f"says: {ended.printed[-400:]}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=8, help="number of kills; the other disturbances are half as many each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", nargs="*", default=[], help="names of the commands that are disturbed; all by default")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = [each for each in SCENARIOS if not options.commands or each.name in options.commands]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        suite = Suite(Path(folder).resolve(), options.seed)
        for place, kind in enumerate(options.kinds):
            count = -(-options.kills // 2) if kind.startswith("kill") else -(-options.kills // 4)
            for number in range(count):
                suite.trial(chosen[(number + place) % len(chosen)], kind, number)
    faults = _print(suite, options)
    sys.exit(1 if faults else 0)


def _print(suite: Suite, options: argparse.Namespace) -> int:
    """Print the table, and return the number of faults."""
    print(f"\n| command | {' | '.join(options.kinds)} |\n|---|{'---|' * len(options.kinds)}")
    for scenario in SCENARIOS:
        cells = [suite.counts.get((scenario.name, kind), Counter()) for kind in options.kinds]
        if any(cells):
            print(f"| {scenario.name} | " + " | ".join(f"{each['equal']} of {each.total()}" for each in cells) + " |")
    total = sum(suite.counts.values(), Counter[str]())
    print(f"\nseed {options.seed}: {total['equal']} of {total.total()} as undisturbed; temporary files left: {suite.left}")
    return total["fault"]


if __name__ == "__main__":
    main()
