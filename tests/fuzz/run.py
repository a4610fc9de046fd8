"""Reads mutated files of every kind, and counts what comes of them: `make test-fuzz` (INPUTS=100000 for the long form).

Every input is a function of the seed and its number: `--only NUMBER` reads it again. One process reads many of them, and is
replaced if it hangs or crashes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import torch
from subjects import Subject, make_valid_files, subjects
from worker import Outcome, read_mutated, start

GOOD = ("clear error", "valid")
BAD = ("traceback", "beyond memory", "hang", "crash", "write outside")


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    os.environ["COLUMNS"] = "200"
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        root = Path(folder).resolve()
        valid = options.files.resolve() if options.files else root / "valid"
        if not valid.exists():
            valid.mkdir()
            with contextlib.redirect_stderr(io.StringIO()):
                make_valid_files(valid)
        chosen = [each for each in subjects(valid) if not options.kinds or each.kind in options.kinds]
        numbers = range(options.only, options.only + 1) if options.only is not None else range(options.inputs)
        began = time.monotonic()
        counts: dict[str, Counter[str]] = {each.kind: Counter() for each in chosen}
        for number, outcome in _outcomes(numbers, chosen, root, valid, options):
            subject = chosen[number % len(chosen)]
            counts[subject.kind][outcome.kind] += 1
            if outcome.kind in BAD or options.only is not None:
                print(f"{number} {subject.kind} {subject.file}: {outcome.kind}: {outcome.detail}", flush=True)
        total = _print(counts, time.monotonic() - began, options.seed)
    sys.exit(1 if any(total[kind] for kind in BAD) else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=[])
    parser.add_argument("--only", type=int, help="read this one input and say what came of it")
    parser.add_argument(
        "--files", type=Path, help="directory of the valid files, made if it is missing; by default a temporary one"
    )
    parser.add_argument("--memory", type=int, default=3 * 2**30, help="bytes that the process may take beyond what it starts with")
    parser.add_argument("--seconds", type=float, default=20, help="of the processor, that an input may take")
    return parser.parse_args()


def _outcomes(
    numbers: range, chosen: list[Subject], root: Path, valid: Path, options: argparse.Namespace
) -> Iterator[tuple[int, Outcome]]:
    """The outcome of every input, in order, from processes that are forked from this one."""
    following = numbers.start
    while following < numbers.stop:
        results = root / "results.jsonl"
        results.write_text("")
        child = os.fork()
        if child == 0:
            _work(range(following, numbers.stop), chosen, root, valid, options, results)
        with results.open(encoding="utf-8") as file:
            ended = yield from _lines(child, file, following, 20 * options.seconds)
        following = ended.following
        if following < numbers.stop:
            yield following, Outcome("hang" if ended.status is None else "crash", f"status {ended.status}")
            following += 1


class _Ended(NamedTuple):
    """The first input that a process has not finished, and its status; None if it was killed because no result came."""

    following: int
    status: int | None


def _lines(child: int, file: TextIO, following: int, seconds: float) -> Generator[tuple[int, Outcome], None, _Ended]:
    """What a process writes until it ends, or until nothing has come for some seconds."""
    changed, rest = time.monotonic(), ""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        *lines, rest = (rest + file.read()).split("\n")
        for line in lines:
            yield following, Outcome(*json.loads(line))
            following, changed = following + 1, time.monotonic()
        if done:
            return _Ended(following, status)
        if time.monotonic() - changed > seconds:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return _Ended(following, None)
        time.sleep(0.05)


def _work(numbers: range, chosen: list[Subject], root: Path, valid: Path, options: argparse.Namespace, results: Path) -> None:
    """Read inputs until the last one; never returns."""
    status, parent = 1, os.getppid()
    try:
        watch = start(options.memory)
        with results.open("a", encoding="utf-8") as file:
            for number in numbers:
                if os.getppid() != parent:  # it was ended
                    break
                box = root / "box" / f"{number}"
                box.mkdir(parents=True)
                subject = chosen[number % len(chosen)]
                draw = random.Random(f"{options.seed}-{number}")
                file.write(json.dumps(read_mutated(subject, valid, box, draw, watch, options.seconds)) + "\n")
                file.flush()
                os.chdir(root)
                shutil.rmtree(root / "box")
        status = 0
    finally:
        os._exit(status)


def _print(counts: dict[str, Counter[str]], seconds: float, seed: int) -> Counter[str]:
    """Print the table, and return its sums."""
    total = sum(counts.values(), Counter[str]())
    print(f"\n| kind | inputs | {' | '.join((*GOOD, *BAD))} |\n|---|{'---|' * (1 + len(GOOD) + len(BAD))}")
    for name, found in (*sorted(counts.items()), ("all", total)):
        print(f"| {name} | {found.total()} | {' | '.join(str(found[kind]) for kind in (*GOOD, *BAD))} |")
    print(f"\nseed {seed}, {total.total()} inputs, {total.total() / seconds:.1f} a second")
    return total


if __name__ == "__main__":
    main()
