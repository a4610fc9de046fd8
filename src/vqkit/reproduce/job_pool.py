"""Training the jobs of a comparison, several in parallel, and showing their progress."""

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
"""Trains or resumes one job: a generator of its latest progress line, which ends when the job is complete.

It raises `TrainingError` if the job fails. Throwing `Interrupted` into it makes the job save a checkpoint and stop.
"""
_BYTES_PER_RUN = 2**30
"""Generous estimate of the memory that a run needs."""
_PAUSE = 0.1
"""Seconds between two polls of the running jobs."""


def max_concurrent_jobs(device: torch.device) -> int:
    """Number of runs to train in parallel: one on a GPU, else one per core, as far as memory allows.

    A small network gains little from a second core; two networks use both fully.
    """
    return 1 if device.type == "cuda" else max_batch_size(_BYTES_PER_RUN, device, usable_cpus())


def run_jobs(jobs: Sequence[Job], train: Train, console: Console, at_once: int = 1) -> dict[Path, str]:
    """Train the unfinished jobs, at most `at_once` in parallel; jobs that depend on no unfinished job are started in order.

    A failed job does not stop the others. Returns the error messages of failed jobs, by run directory. Raises `ConfigError` before
    anything is trained for a run with other settings, and `Interrupted` when asked to stop, after all running jobs have saved.
    """
    pool = JobPool(jobs, train, console)
    with _StopRequests() as requests, console.status("") as status:
        while pool.running or (pool.waiting and not requests):
            while not requests and len(pool.running) < at_once and (job := pool.next_job()):
                pool.start(job)
            stop, progress = requests.new(), []
            for job in list(pool.running):
                try:
                    progress += pool.poll(job, stop)
                except Interrupted:
                    requests.note()
            status.update(escape("\n".join(progress)))
            time.sleep(_PAUSE if progress else 0)
    if requests:
        raise Interrupted("Stopped; run the same command again to resume.")
    return pool.failures


class JobPool:
    """Waiting and running jobs, and the errors of failed ones by run directory; changes are reported on the console."""

    def __init__(self, jobs: Sequence[Job], train: Train, console: Console) -> None:
        self._train, self._console = train, console
        self._names = {job.run: f"[{number}/{len(jobs)}] {job.name}, seed {job.seed}" for number, job in enumerate(jobs, start=1)}
        finished = {job.run: is_finished(job) for job in jobs}
        self.waiting = [job for job in jobs if not finished[job.run]]
        self.running: dict[Job, Generator[str, None, None]] = {}
        self.failures: dict[Path, str] = {}
        for job in jobs:
            if finished[job.run]:
                self._report(job, "finished before")

    def next_job(self) -> Job | None:
        """The first waiting job whose encoder is not waiting or in training itself; None if there is none."""
        unfinished = {job.run for job in (*self.waiting, *self.running)}
        return next((job for job in self.waiting if job.after is None or job.after.run not in unfinished), None)

    def start(self, job: Job) -> None:
        """Start a waiting job; it fails at once if its encoder failed."""
        self.waiting.remove(job)
        if job.after and job.after.run in self.failures:
            self._fail(job, f"Its encoder could not be pretrained: {self.failures[job.after.run]}")
        else:
            self._report(job, f"{job.steps} steps")
            self.running[job] = self._train(job)

    def poll(self, job: Job, stop: bool) -> list[str]:
        """Poll a running job, or interrupt it if `stop`. Returns its progress line, or nothing once it has ended.

        Raises `Interrupted` when it has stopped.
        """
        training = self.running[job]
        try:
            return [f"{self._names[job.run]}: {training.throw(Interrupted()) if stop else next(training)}"]
        except StopIteration:
            self._report(job, "finished")
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

    def _report(self, job: Job, message: str) -> None:
        self._console.print(f"{self._names[job.run]}: {message}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def exclusive_directory(out: Path) -> Iterator[int]:
    """Lock `out` against other comparisons. Gives the open lock file, which stays locked while any process that inherits it lives.

    Raises `ConfigError` if another process holds the lock.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another vqkit reproduce is running in {out}.", "Wait until it ends, stop it, or choose another --out."
            ) from None
        yield file.fileno()


class _StopRequests:
    """Counts SIGINT and SIGTERM inside this context, in place of the usual handlers."""

    def __init__(self) -> None:
        self._times = self._seen = 0

    def new(self) -> bool:
        """Whether a signal arrived since the last call."""
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
        """Count a request to stop; the signal handler."""
        self._times += 1
