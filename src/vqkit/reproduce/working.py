"""Training the jobs of a comparison, several at the same time, and showing how far they are."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

import torch
from rich.console import Console
from rich.markup import escape

from vqkit.errors import ConfigError, Interrupted, VQKitError
from vqkit.memory import fitting
from vqkit.report.subjects import Subject
from vqkit.reproduce.planning import Job, is_finished

Train = Callable[[Job], Generator[str, None, None]]
"""Trains a job to its end, or goes on with it, while it is asked for its latest words; when it gives no more, it has ended.

Raises `TrainingError` saying why that was not possible. An `Interrupted` that is thrown into it asks it to save and to end.
"""
_BYTES_EACH = 2**31
"""Memory that a run may need, generously."""
_PAUSE = 0.1
"""Seconds between two looks at the jobs under way."""


def at_the_same_time(device: torch.device) -> int:
    """How many runs to train at once: one on a GPU; else one for every core, as far as memory allows.

    Small networks gain little from a second core, and two of them gain all of it.
    """
    return 1 if device.type == "cuda" else fitting(_BYTES_EACH, device, os.cpu_count() or 1)


def work(jobs: Sequence[Job], train: Train, console: Console, at_once: int = 1) -> list[Subject]:
    """Train what is not finished, at most `at_once` jobs at a time and begun in order; what fails is noted, and the others go on.

    Raises `ConfigError`, before anything is trained, for a run with other settings, and `Interrupted` when asked to stop, once all
    that were under way have saved what they have.
    """
    finished = [is_finished(job) for job in jobs]
    names = [f"[{number}/{len(jobs)}] {job.model}, seed {job.seed}" for number, job in enumerate(jobs, start=1)]
    failures: dict[int, str] = {}

    def say(number: int, words: str) -> None:
        console.print(f"{names[number]}: {words}", highlight=False, markup=False, soft_wrap=True)

    for number in (number for number, done in enumerate(finished) if done):
        say(number, "trained before")
    waiting = deque(number for number, done in enumerate(finished) if not done)
    under_way: dict[int, Generator[str, None, None]] = {}
    with _Asked() as asked, console.status("") as status:
        while under_way or (waiting and not asked):
            while waiting and len(under_way) < at_once and not asked:
                number = waiting.popleft()
                say(number, f"{jobs[number].steps} steps")
                under_way[number] = train(jobs[number])
            stop, words = asked.again(), []
            for number, training in list(under_way.items()):
                try:
                    words.append(f"{names[number]}: {training.throw(Interrupted()) if stop else next(training)}")
                    continue
                except StopIteration:
                    say(number, "trained")
                except Interrupted:
                    asked.note()
                except VQKitError as error:
                    failures[number] = str(error)
                    say(number, f"failed: {error}")
                del under_way[number]
            status.update(escape("\n".join(words)))
            time.sleep(_PAUSE if words else 0)
    if asked:
        raise Interrupted("Stopped; type the same command again to go on.")
    return [Subject(job.model, job.seed, job.run, failures.get(number)) for number, job in enumerate(jobs)]


@contextmanager
def working_alone(out: Path) -> Iterator[int]:
    """Keep others from training in `out`: an open file that is locked as long as we, or a process that was given it, live.

    Raises `ConfigError` when somebody else is at work there.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another vqkit reproduce is at work in {out}.", "Wait until it ends, stop it, or choose another --out."
            ) from None
        yield file.fileno()


class _Asked:
    """Signals that ask us to stop, noted while this context lasts."""

    def __init__(self) -> None:
        self._times = self._seen = 0

    def again(self) -> bool:
        """Whether we were asked since this was last asked."""
        before, self._seen = self._seen, self._times
        return self._seen > before

    def __bool__(self) -> bool:
        return self._times > 0

    def __enter__(self) -> _Asked:
        self._before = {number: signal.signal(number, self.note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def note(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Take note that we were asked; a handler of signals."""
        self._times += 1
