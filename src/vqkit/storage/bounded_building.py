"""Building a network that a file describes, within the memory that the tensors of the file can explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_CREATING = frozenset(
    {
        torch.empty,
        torch.zeros,
        torch.ones,
        torch.full,
        torch.rand,
        torch.randn,
        torch.randint,
        torch.randperm,
        torch.arange,
        torch.linspace,
        torch.eye,
        torch.tril_indices,
        torch.triu_indices,
    }
)
_TIMES_BYTES, _MORE_BYTES = 16, 2**30
_TIMES_TENSORS, _MORE_TENSORS = 64, 10_000


class TooLargeError(Exception):
    """A network that is far larger than the file that describes it."""


@contextmanager
def bounded(tensors: Sequence[torch.Tensor]) -> Iterator[None]:
    """Within this block, refuse to create tensors that a network with these weights cannot need.

    A network may create some times the bytes and the number of its weights, for initial values and buffers. Raises `TooLargeError`
    before a tensor beyond that is allocated.
    """
    with _Bounded(_TIMES_BYTES * sum(each.nbytes for each in tensors) + _MORE_BYTES, _TIMES_TENSORS * len(tensors) + _MORE_TENSORS):
        yield


class _Bounded(TorchFunctionMode):
    """Counts what the functions that create tensors are asked for, by asking them first for tensors without memory."""

    def __init__(self, most_bytes: int, most_tensors: int) -> None:
        super().__init__()
        self._bytes, self._tensors = most_bytes, most_tensors

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in _CREATING:
            self._tensors -= 1
            self._bytes -= _size(func, args, given)
            if self._tensors < 0 or self._bytes < 0:
                raise TooLargeError("it would need far more memory than its weights explain")
        return func(*args, **given)


def _size(func: Callable[..., Any], args: tuple[Any, ...], given: dict[str, Any]) -> int:
    """Bytes of the tensor that a call would create."""
    plain = {name: value for name, value in given.items() if name not in ("generator", "pin_memory")}
    return int(func(*args, **{**plain, "device": "meta"}).nbytes)
