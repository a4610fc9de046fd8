"""Progress of a command over many images: a progress bar on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINES = 10


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[float], None]]:
    """A context whose value is called with the number of images done since the last call, which may be fractional.

    Nothing is shown for a single image.
    """
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("left:"), TimeRemainingColumn(compact=True))
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task(what, total=total)
    # With older versions of rich, a disabled bar prints an empty line when it is stopped, so it is not started.
    with bar if total > 1 and console.is_terminal else nullcontext():
        done = 0.0

        def advance(count: float) -> None:
            nonlocal done
            before, done = done, done + count
            bar.update(task, completed=round(done, 3))
            if not console.is_terminal and total > _LINES and _whole(before * _LINES / total) < _whole(done * _LINES / total):
                console.print(f"{what}: {_whole(done)} of {total}", highlight=False)

        yield advance


def count_of(number: int) -> str:
    """`1 image`, `2 images`."""
    return "1 image" if number == 1 else f"{number} images"


def _whole(number: float) -> int:
    """The whole images; fractions add up only within rounding."""
    return int(number + 1e-6)
