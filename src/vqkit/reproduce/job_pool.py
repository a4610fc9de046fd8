"""Training the jobs of a comparison, several at the same time, and showing how far they are."""

from __future__ import annotations

import fcntl
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

import torch
from rich.console import Console
from rich.markup import escape

from vqkit.core.cpus import usable_cpus
from vqkit.core.memory import max_batch_size
from vqkit.errors import ConfigError, Interrupted, VQKitError
from vqkit.reproduce.planning import Job, is_finished

Train = Callable[[Job], Generator[str, None, None]]
"""Trains a job to its end, or goes on with it, while it is asked for its latest words; when it gives no more, it has ended.

Raises `TrainingError` saying why that was not possible. An `Interrupted` that is thrown into it asks it to save and to end.
"""
_BYTES_EACH = 2**30
"""Memory that a run may need, generously."""
_PAUSE = 0.1
"""Seconds between two looks at the jobs under way."""


def max_concurrent_jobs(device: torch.device) -> int:
    """How many runs to train at once: one on a GPU; else one for every core, as far as memory allows.

    Small networks gain little from a second core, and two of them gain all of it.
    """
    return 1 if device.type == "cuda" else max_batch_size(_BYTES_EACH, device, usable_cpus())


def run_jobs(jobs: Sequence[Job], train: Train, console: Console, at_once: int = 1) -> dict[Path, str]:
    """Train what is not finished, at most `at_once` jobs at a time; those that wait for no other are begun in order.

    What fails is noted, and the others go on: returns why, by the job's run. Raises `ConfigError`, before anything is trained, for
    a run with other settings, and `Interrupted` when asked to stop, once all that were under way have saved what they have.
    """
    pool = JobPool(jobs, train, console)
    with _StopRequests() as requests, console.status("") as status:
        while pool.running or (pool.waiting and not requests):
            while not requests and len(pool.running) < at_once and (job := pool.next_job()):
                pool.start(job)
            stop, words = requests.new(), []
            for job in list(pool.running):
                try:
                    words += pool.poll(job, stop)
                except Interrupted:
                    requests.note()
            status.update(escape("\n".join(words)))
            time.sleep(_PAUSE if words else 0)
    if requests:
        raise Interrupted("Stopped; type the same command again to go on.")
    return pool.failures


class JobPool:
    """Jobs that wait, those under way, and why others failed, by their run; what becomes of them is said on the console."""

    def __init__(self, jobs: Sequence[Job], train: Train, console: Console) -> None:
        self._train, self._console = train, console
        self._names = {job.run: f"[{number}/{len(jobs)}] {job.name}, seed {job.seed}" for number, job in enumerate(jobs, start=1)}
        finished = {job.run: is_finished(job) for job in jobs}
        self.waiting = [job for job in jobs if not finished[job.run]]
        self.running: dict[Job, Generator[str, None, None]] = {}
        self.failures: dict[Path, str] = {}
        for job in jobs:
            if finished[job.run]:
                self._report(job, "trained before")

    def next_job(self) -> Job | None:
        """The first of those that wait whose encoder is not still to come."""
        to_come = {job.run for job in (*self.waiting, *self.running)}
        return next((job for job in self.waiting if job.after is None or job.after.run not in to_come), None)

    def start(self, job: Job) -> None:
        """Begin to train a job that waits; it fails at once where its encoder did."""
        self.waiting.remove(job)
        if job.after and job.after.run in self.failures:
            self._fail(job, f"Its encoder could not be trained: {self.failures[job.after.run]}")
        else:
            self._report(job, f"{job.steps} steps")
            self.running[job] = self._train(job)

    def poll(self, job: Job, stop: bool) -> list[str]:
        """Go on with a job under way, and ask it to stop if it should; returns its words, none once it has ended.

        Raises `Interrupted` when it has stopped.
        """
        training = self.running[job]
        try:
            return [f"{self._names[job.run]}: {training.throw(Interrupted()) if stop else next(training)}"]
        except StopIteration:
            self._report(job, "trained")
        except VQKitError as error:
            self._fail(job, str(error))
        except Interrupted:
            del self.running[job]
            raise
        del self.running[job]
        return []

    def _fail(self, job: Job, why: str) -> None:
        self.failures[job.run] = why
        self._report(job, f"failed: {why}")

    def _report(self, job: Job, words: str) -> None:
        self._console.print(f"{self._names[job.run]}: {words}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def exclusive_directory(out: Path) -> Iterator[int]:
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


class _StopRequests:
    """Signals that ask us to stop, noted while this context lasts."""

    def __init__(self) -> None:
        self._times = self._seen = 0

    def new(self) -> bool:
        """Whether we were asked since this was last asked."""
        before, self._seen = self._seen, self._times
        return self._seen > before

    def __bool__(self) -> bool:
        return self._times > 0

    def __enter__(self) -> _StopRequests:
        self._before = {number: signal.signal(number, self.note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def note(self, number: int = 0, frame: FrameType | None = None) -> None:
        """Take note that we were asked; a handler of signals."""
        self._times += 1
