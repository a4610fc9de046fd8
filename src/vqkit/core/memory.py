"""How much fits into memory at once, and what to do when it was too much after all."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

_UNKNOWN = 2**30
"""Bytes taken to be free where the operating system does not say."""
_SHARE = 0.5
"""Part of the free memory that is used: the rest is for what an estimate leaves out, and for other programs."""

Result = TypeVar("Result")


def return_freed_memory() -> None:
    """Give memory that was freed back to the operating system, where the C library can (glibc).

    Buffers of some 10 MB that are allocated and freed in turns, with small objects that stay between them, otherwise leave holes
    that are not used again: an image that is read by rows would take more memory the higher it is.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or none that can be asked
        return
    trim(0)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Without Python's search for cycles, while tens of thousands of small objects are made that are all kept.

    Otherwise it would look at all of them again and again, for a quarter of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now; what torch has reserved and does not use counts as free."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, macOS not this entry
        return _UNKNOWN


def max_batch_size(bytes_each: int, device: torch.device, most: int) -> int:
    """How many things of `bytes_each` fit on the device: at least one, at most `most`."""
    return max(1, min(most, int(free_bytes(device) * _SHARE) // max(1, bytes_each)))


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch failed for want of memory; on a processor it has no type of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def map_batches(count: int, size: int, work: Callable[[int, int], Result], smaller: bool) -> list[Result]:
    """The results of `work(start, stop)` over 0 ... `count`, `size` at a time.

    `smaller`: whether to retry with half the size when memory runs out. Raises what `work` raises.
    """
    results: list[Result] = []
    start = 0
    while start < count:
        stop = min(count, start + size)
        try:
            results.append(work(start, stop))
        except RuntimeError as error:
            if not (smaller and size > 1 and is_out_of_memory(error)):
                raise
            size = -(-min(size, count - start) // 2)
            continue
        start = stop
    return results
