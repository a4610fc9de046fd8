"""Progress of a training run: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from vqkit.core.distributed import is_main


class TrainingProgress:
    """A progress bar over the steps of a run, shown by rank 0 only."""

    def __init__(self, total_steps: int, start: int, batch_size: int) -> None:
        self._console = Console(stderr=True, quiet=not is_main())
        self._batch_size = batch_size
        self._since = time.perf_counter()
        self._steps = 0
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]} images/s"),
            TextColumn("left:"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=self._console,
        )
        # With older versions of rich, a disabled bar prints an empty line when it is stopped, so it is not started.
        self._shown = is_main() and self._console.is_terminal
        self._task = self._bar.add_task("training", total=total_steps, completed=start, rate="-", note="")

    def __enter__(self) -> TrainingProgress:
        if self._shown:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._shown:
            self._bar.stop()

    def advance(self) -> None:
        """Count one more step."""
        self._steps += 1
        self._bar.advance(self._task)

    def rate(self) -> float:
        """Images per second since the last call; also shown in the bar."""
        now = time.perf_counter()
        rate = self._steps * self._batch_size / max(now - self._since, 1e-9)
        self._since, self._steps = now, 0
        self._bar.update(self._task, rate=f"{rate:.0f}")
        return rate

    def restart_clock(self) -> None:
        """Exclude the time since the last step (validation, images, checkpoints) from the rate."""
        self._since, self._steps = time.perf_counter(), 0

    def note(self, text: str) -> None:
        """Show a text at the end of the bar."""
        self._bar.update(self._task, note=text)

    def line(self, text: str) -> None:
        """Print a permanent line above the bar."""
        self._console.print(text, highlight=False, soft_wrap=True)
        sys.stderr.flush()
