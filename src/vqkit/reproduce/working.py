"""Training the jobs of a comparison, each in a process of its own.

One that breaks, or is killed for lack of memory, takes no other with it.
"""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType

from rich.console import Console
from rich.markup import escape

from vqkit.atomic import write_text
from vqkit.config import dump_yaml
from vqkit.errors import ConfigError, Interrupted, TrainingError, VQKitError
from vqkit.report.subjects import Subject
from vqkit.reproduce.planning import Job, is_finished

Train = Callable[[Job], None]
"""Trains a job to its end, or goes on with it. Raises `TrainingError` saying why that was not possible."""
_INTERRUPTED = 130
"""Exit code of a vqkit command that was asked to stop and has saved everything."""


def work(jobs: Sequence[Job], train: Train, console: Console) -> list[Subject]:
    """Train what is not finished, one job after the other; what fails is noted, and the others go on.

    Raises `Interrupted` when asked to stop, and `ConfigError`, before anything is trained, for a run with other settings.
    """
    finished = [is_finished(job) for job in jobs]
    subjects = []
    for number, (job, done) in enumerate(zip(jobs, finished, strict=True), start=1):
        what = f"[{number}/{len(jobs)}] {job.model}, seed {job.seed}"
        failure = None
        if done:
            console.print(f"{what}: trained before", highlight=False, markup=False)
        else:
            console.print(f"{what}: {job.steps} steps", highlight=False, markup=False)
            try:
                train(job)
            except VQKitError as error:
                failure = str(error)
                console.print(f"{what} failed: {failure}", highlight=False, markup=False, soft_wrap=True)
        subjects.append(Subject(job.model, job.seed, job.run, failure))
    return subjects


class ProcessTrainer:
    """Trains each job with `vqkit train-vqvae` in a process of its own, whose words go to a file in `logs`.

    SIGINT and SIGTERM are passed on, so that it can save what it has. `lock`: an open file that stays locked while it lives.
    """

    def __init__(self, logs: Path, console: Console, lock: int) -> None:
        self._logs, self._console, self._lock = logs, console, lock

    def __call__(self, job: Job) -> None:
        """See `Train`."""
        config, log = (self._logs / f"{job.run.name}.{suffix}" for suffix in ("yaml", "log"))
        write_text(config, dump_yaml(job.config))
        command = [sys.executable, "-m", "vqkit", "train-vqvae", "--config", str(config), "--out", str(job.run)]
        said = []
        with _Asked() as asked, self._console.status("starting") as status, log.open("a", encoding="utf-8") as file:
            # A session of its own, so that Ctrl-C reaches it once, through us, and not twice, which would stop it without saving.
            with subprocess.Popen(
                command, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True, pass_fds=(self._lock,)
            ) as process:
                asked.pass_to(process)
                assert process.stderr is not None
                for line in process.stderr:
                    said.append(line.rstrip())
                    file.write(line)
                    file.flush()
                    status.update(f"{job.model}, seed {job.seed}: {escape(said[-1])}")
            code = process.returncode
        if asked.numbers or code == _INTERRUPTED:
            raise Interrupted(f"Stopped while training {job.model}, seed {job.seed}; type the same command again to go on.")
        if code:
            raise TrainingError(*_reason(said, code, log))


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
    """Signals that ask us to stop: while this context lasts they are noted in `numbers` and passed on to a process."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._process: subprocess.Popen[str] | None = None

    def pass_to(self, process: subprocess.Popen[str]) -> None:
        """Pass them on to this process from now on, and those that came before it was there at once."""
        self._process = process
        for number in self.numbers:
            process.send_signal(number)

    def __enter__(self) -> _Asked:
        self._before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.numbers.append(number)
        if self._process is not None:
            self._process.send_signal(number)  # does nothing once it has ended


def _reason(said: Sequence[str], code: int, log: Path) -> tuple[str, str]:
    """What a process that failed said about it, as a sentence and a hint."""
    if code < 0:
        return f"Its process was ended by {signal.Signals(-code).name}.", f"It may have run out of memory; {log} has its words."
    errors = [line.removeprefix("Error: ") for line in said if line.startswith("Error: ")]
    if errors:
        hints = [line.removeprefix("Hint: ") for line in said if line.startswith("Hint: ")]
        return errors[-1], hints[-1] if hints else ""
    words = [line for line in said if line.strip()]
    return f"{words[-1].strip()[:300] if words else f'Exit code {code}'}.", f"The whole of it is in {log}."
