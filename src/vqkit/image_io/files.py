"""Many image files at a time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from vqkit.core.cpus import usable_cpus
from vqkit.errors import DataError

_THREADS = min(8, 2 * usable_cpus())

Result = TypeVar("Result")


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """No warnings from Pillow about metadata and large pictures: what cannot be used is a `DataError` here.

    Filters of warnings belong to the process, not to a thread: enter this once, around all threads that open pictures.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def read_all(paths: Sequence[Path], read: Callable[[Path], Result]) -> tuple[list[Result | None], list[DataError]]:
    """`read` each path in several threads. Gives the results in order, None where it raised `DataError`, and the errors."""
    errors: list[DataError] = []

    def attempt(path: Path) -> Result | None:
        try:
            return read(path)
        except DataError as error:
            errors.append(error)
            return None

    with quiet_pillow(), ThreadPoolExecutor(_THREADS) as pool:
        contents = list(pool.map(attempt, paths, chunksize=64))
    return contents, sorted(errors, key=str)
