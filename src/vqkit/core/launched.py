"""A vqkit command as a job of a cluster: what each of its processes runs, and how it goes on after it was interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

TRAINING = ("pretrain", "train", "train-prior", "train-vqvae")
"""Commands that go on with `--resume auto`; all others begin again, and leave out what is finished in shards."""
GRACE_SECONDS = 120
"""Time from the cluster's signal until a job is ended, in which a training saves where it is."""
_INTERRUPTED = 130
_POLL_SECONDS = 0.2


class LaunchedCommand:
    """Runs `vqkit WORDS` in a process of its own when it is called; submitit calls `checkpoint` before a job is ended.

    With several processes in a job, they are the ranks of one command, as if torchrun had started them.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)

    def __call__(self) -> int:
        """The exit code: 0, or 130 for a command that was interrupted. Raises `CalledProcessError` for any other."""
        child = subprocess.Popen([*program(), *self.words], env={**os.environ, **process_variables()})
        # A thread waits for it: `checkpoint` is called by a handler of signals, and may find this one in any place.
        waiting = threading.Thread(target=child.wait, daemon=True)
        waiting.start()
        _RUNNING[:] = [(child, waiting)]
        while waiting.is_alive():
            waiting.join(_POLL_SECONDS)
        _RUNNING.clear()
        if child.returncode not in (0, _INTERRUPTED):
            raise subprocess.CalledProcessError(child.returncode, ["vqkit", *self.words])
        return child.returncode

    def checkpoint(self) -> Any:
        """Ask the command to save and stop, wait for it, and return what is to be submitted in its place."""
        from submitit.helpers import DelayedSubmission

        for child, waiting in _RUNNING:
            if waiting.is_alive():
                child.send_signal(signal.SIGTERM)
                waiting.join(GRACE_SECONDS - 10)
                child.kill()  # does nothing to a process that has ended
        return DelayedSubmission(LaunchedCommand(resumed(self.words)))


_RUNNING: list[tuple[subprocess.Popen[bytes], threading.Thread]] = []
"""What this process runs, apart from what is saved of the command."""


def program() -> list[str]:
    """How vqkit is started here."""
    return [sys.executable, "-m", "vqkit"]


def process_variables() -> dict[str, str]:
    """The variables that torchrun sets, for a process of a job that has several; nothing for a single one."""
    from submitit import JobEnvironment
    from submitit.helpers import TorchDistributedEnvironment

    try:
        if JobEnvironment().num_tasks < 2:
            return {}
    except RuntimeError:  # not in a job
        return {}
    found = TorchDistributedEnvironment()
    values = {
        "MASTER_ADDR": found.master_addr,
        "MASTER_PORT": found.master_port,
        "RANK": found.rank,
        "WORLD_SIZE": found.world_size,
        "LOCAL_RANK": found.local_rank,
        "LOCAL_WORLD_SIZE": found.local_world_size,
    }
    return {name: str(value) for name, value in values.items()}


def resumed(words: Sequence[str]) -> list[str]:
    """The command that goes on where this one was interrupted."""
    if not words or words[0] not in TRAINING:
        return list(words)
    given = list(words)
    for place, word in enumerate(given):
        if word == "--resume" and place + 1 < len(given):
            if given[place + 1] == "never":
                given[place + 1] = "auto"
            return given
        if word.startswith("--resume="):
            given[place] = "--resume=auto" if word == "--resume=never" else word
            return given
    return [*given, "--resume", "auto"]
