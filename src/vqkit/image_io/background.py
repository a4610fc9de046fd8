"""Writing files beside the computation, many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar

from vqkit.core.atomic import WriteBatch
from vqkit.core.cpus import usable_cpus
from vqkit.image_io.originals import Output

Result = TypeVar("Result")

_THREADS = max(1, min(4, usable_cpus() // 2))
"""More would wait for each other: small files are mostly work of Python, of which one thread does some at a time."""
_FILES_A_CALL = 16
_UNFINISHED = 2
"""Batches that may be waiting to be written, so that memory stays bounded."""


class BackgroundWriter(Generic[Result]):
    """Writes batches of files in threads: those of a batch appear together, and batches in their order.

    All are below the directory `folder`, and no link in it is followed. A context manager. When its block ends with an error, files
    that are not yet in place are removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers = ThreadPoolExecutor(_THREADS)
        self._committer = ThreadPoolExecutor(1)
        self._waiting: deque[tuple[Future[None], Result]] = deque()

    def submit(self, outputs: Sequence[Output], result: Result) -> None:
        """Write files; `finished` yields `result` when they are in place."""
        batch = WriteBatch(self._folder)
        size = max(1, min(_FILES_A_CALL, len(outputs) // (2 * _THREADS)))
        parts = [outputs[start : start + size] for start in range(0, len(outputs), size)]
        written = [self._writers.submit(_write, batch, part) for part in parts]
        self._waiting.append((self._committer.submit(_commit, batch, written), result))

    def finished(self, wait: bool = False) -> Iterator[Result]:
        """The results of batches that are in place, in order: all with `wait`, else once too many are waiting.

        Raises what writing raised: `OSError` or `DataError`.
        """
        while self._waiting and (wait or len(self._waiting) > _UNFINISHED):
            committed, result = self._waiting.popleft()
            committed.result()
            yield result

    def __enter__(self) -> BackgroundWriter[Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writers.shutdown(cancel_futures=kind is not None)
        self._committer.shutdown()


def _write(batch: WriteBatch, outputs: Sequence[Output]) -> None:
    with batch.collect():
        for output in outputs:
            output.write()


def _commit(batch: WriteBatch, written: Sequence[Future[None]]) -> None:
    """Wait for all files of a batch, and put them in place; remove them if one could not be written."""
    failures = [failure for future in written if (failure := _failure(future)) is not None]
    try:
        if failures:
            raise failures[0]
        batch.commit()
    finally:
        batch.discard()


def _failure(future: Future[None]) -> BaseException | None:
    """Wait for a call, and return what it raised."""
    try:
        return future.exception()
    except CancelledError as cancelled:
        return cancelled
