"""How an evaluation reports its progress."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

Progress = Callable[[str, int], AbstractContextManager[Callable[[float], None]]]
"""Called with what is done (a past participle) and to how many images, it returns a context manager.

The value of that context is called with the number of images done since the last call."""


def no_progress(what: str, total: int) -> AbstractContextManager[Callable[[float], None]]:
    """Report nothing."""
    del what, total
    return nullcontext(lambda done: None)
