"""Training a job of a comparison in a process of its own.

One that breaks, or is killed for lack of memory, takes no other with it.
"""

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
"""Exit code of a vqkit command that was asked to stop and has saved everything."""
_TAIL = 4096
"""Bytes at the end of a log in which its last line is looked for."""


class ProcessTrainer:
    """Trains each job with the command of its configuration, in a process of its own whose words go to a file in `logs`.

    When it is asked to stop, the process is, so that it can save what it has. `lock`: an open file that stays locked while it
    lives; `threads`: processor threads that it may use (None: as many as it likes).
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
                process.terminate()  # does nothing once it has ended
        if interrupted or process.returncode == _INTERRUPTED:
            raise Interrupted
        if process.returncode:
            raise TrainingError(*_reason(_lines(log, start), process.returncode, log))

    def _start(self, job: Job, config: Path, log: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "vqkit", job.config.command, "--config", str(config), "--out", str(job.run)]
        with log.open("ab") as file:
            # A session of its own, so that Ctrl-C reaches it once, through us, and not twice, which would stop it without saving.
            return subprocess.Popen(
                command, stdout=file, stderr=file, start_new_session=True, pass_fds=(self._lock,), env=self._environment
            )


def _lines(log: Path, start: int) -> list[str]:
    """The lines of a log from a byte on."""
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace").splitlines()


def _last_line(log: Path, start: int) -> str:
    lines = _lines(log, max(start, log.stat().st_size - _TAIL))
    return lines[-1].strip() if lines else "starting"


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
