"""Training each job of a comparison in a separate process, so that a crash, or the out-of-memory killer, ends only that job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

from vqkit.config import dump_yaml
from vqkit.core.atomic import write_text
from vqkit.errors import Interrupted, TrainingError
from vqkit.reproduce.planning import Job, resolved_config

_INTERRUPTED = 130
"""Exit code of a vqkit command that was interrupted and saved a checkpoint."""
_TAIL = 4096
"""Bytes at the end of a log that are searched for its last line."""


class ProcessTrainer:
    """Trains each job by running its vqkit command in a separate process, whose output goes to a file in `logs`.

    An interrupt is passed on to the process, which then saves a checkpoint. `lock`: an open file that the process inherits, so that
    the directory stays locked while it runs; `threads`: the process's OMP_NUM_THREADS (None: unchanged).
    """

    def __init__(self, logs: Path, lock: int, threads: int | None = None) -> None:
        self._logs, self._lock = logs, lock
        self._environment = dict(os.environ) if threads is None else {**os.environ, "OMP_NUM_THREADS": str(threads)}

    def __call__(self, job: Job) -> Generator[str, None, None]:
        """See `Train`."""
        config, log = (self._logs / f"{job.run.name}.{suffix}" for suffix in ("yaml", "log"))
        write_text(config, dump_yaml(resolved_config(job)))
        start = log.stat().st_size if log.exists() else 0
        with self._start(job, config, log) as process:
            interrupted = False
            try:
                while process.poll() is None:
                    try:
                        yield _last_line(log, start)
                    except Interrupted:
                        process.send_signal(signal.SIGINT)
                        interrupted = True
            finally:
                process.terminate()  # no effect once it has ended
        if interrupted or process.returncode == _INTERRUPTED:
            raise Interrupted
        if process.returncode:
            raise TrainingError(*_reason(_lines(log, start), process.returncode, log))

    def _start(self, job: Job, config: Path, log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "vqkit", job.config.command, "--config", str(config), "--out", str(job.run)]
        with log.open("ab") as file:
            # In a session of its own it gets Ctrl-C once, from us: a second one would stop it without saving.
            return subprocess.Popen(
                command, stdout=file, stderr=file, start_new_session=True, pass_fds=(self._lock,), env=self._environment
            )


def _lines(log: Path, start: int) -> list[str]:
    """The lines of a log from byte `start` on."""
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace").splitlines()


def _last_line(log: Path, start: int) -> str:
    lines = _lines(log, max(start, log.stat().st_size - _TAIL))
    return lines[-1].strip() if lines else "starting"


def _reason(output: Sequence[str], code: int, log: Path) -> tuple[str, str]:
    """Why a process failed, from its output and exit code: a sentence and a hint."""
    if code < 0:
        return f"Its process was killed by {signal.Signals(-code).name}.", f"It may have run out of memory; see {log}."
    errors = [line.removeprefix("Error: ") for line in output if line.startswith("Error: ")]
    if errors:
        hints = [line.removeprefix("Hint: ") for line in output if line.startswith("Hint: ")]
        return errors[-1], hints[-1] if hints else ""
    lines = [line for line in output if line.strip()]
    return f"{lines[-1].strip()[:300] if lines else f'Exit code {code}'}.", f"The full output is in {log}."
