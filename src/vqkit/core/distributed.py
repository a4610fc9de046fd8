"""Processes that torchrun started for one training run: their ranks, and collective operations.

Every function is the identity for a single process, so that callers need no second path.
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

from vqkit.core.shards import Shard

_PASS: ContextVar[tuple[int, int]] = ContextVar("pass_over_a_batch", default=(0, 1))


def rank() -> int:
    """Rank of this process, 0 for a single process."""
    return dist.get_rank() if _active() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _active() else 1


def is_main() -> bool:
    """Whether this process writes files and prints."""
    return rank() == 0


def all_reduce(*tensors: Tensor) -> None:
    """Sum each tensor over the processes, in place. Every process must call it, with equal shapes."""
    if _active():
        for tensor in tensors:
            dist.all_reduce(tensor)


def broadcast(*tensors: Tensor) -> None:
    """Give every process rank 0's values, in place."""
    if _active():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def barrier() -> None:
    """Wait for all processes."""
    if _active():
        dist.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started (nothing to do when there are none), and leave them together at the end.

    Everything that uses the group must be released inside: an object that still holds it when Python exits can abort the process.
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(local_device(device))
    # Tensors on the processor, such as counts and states of random generators, need gloo on GPUs as well.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield
        gc.collect()
        barrier()  # not after an error, which the others may not have had
    finally:
        dist.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """This process's own device: GPU number LOCAL_RANK, or the processor."""
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if device.type == "cuda" else device


def share(count: int) -> range:
    """This process's contiguous part of `count` items; the parts differ by at most one item."""
    return share_of(range(count))


def share_of(whole: range) -> range:
    """This process's contiguous part of a range."""
    return Shard(rank(), world_size()).part(whole)


def sums(*numbers: int) -> tuple[int, ...]:
    """Sums of whole numbers over the processes."""
    total = torch.tensor(numbers, dtype=torch.int64)
    all_reduce(total)
    return tuple(total.tolist())


def parts() -> int:
    """Equal parts in which a training batch is done: one for each process, or one for each of its passes (see `one_pass`)."""
    return world_size() * _PASS.get()[1]


def part_number() -> int:
    """Which of these parts this process does now."""
    number, passes = _PASS.get()
    return rank() * passes + number


@contextmanager
def one_pass(number: int, passes: int) -> Iterator[None]:
    """Within this block, this process does pass `number` of several over its share of a batch, each over an equal part of it."""
    token = _PASS.set((number, passes))
    try:
        yield
    finally:
        _PASS.reset(token)


def local_chunk(tensor: Tensor) -> Tensor:
    """The contiguous part that this process does now of a tensor [N, ...] that was drawn for the batch of all processes."""
    return tensor.chunk(parts())[part_number()]


def broadcast_text(text: str) -> str:
    """Rank 0's text, on every process."""
    if not _active():
        return text
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    content = torch.tensor(list(text.encode()), dtype=torch.int64, device=device)
    length = torch.tensor(len(content), device=device)
    broadcast(length)
    if not is_main():
        content = torch.zeros(int(length), dtype=torch.int64, device=device)
    broadcast(content)
    return bytes(content.tolist()).decode()


def gather_texts(text: str) -> list[str]:
    """Every process's text, in the order of ranks, on every process."""
    rows = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
    lengths = gather(torch.tensor(len(text.encode())))
    return [bytes(each[:length].tolist()).decode() for each, length in zip(_gather_padded(rows), lengths, strict=True)]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows [n, ...] of every process, which may have different numbers of them, in the order of ranks, on every process.

    Those of a process that has none may have any shape and type.
    """
    if not _active():
        return rows
    described = [json.loads(text) for text in gather_texts(json.dumps([list(rows.shape), str(rows.dtype)]))]
    content = _gather_padded(rows.detach().cpu().contiguous().reshape(-1).view(torch.uint8))
    found = [
        part.view(getattr(torch, dtype.removeprefix("torch."))).view(shape)
        for part, (shape, dtype) in zip(content, described, strict=True)
        if len(part)
    ]
    return torch.cat(found).to(rows.device) if found else rows


def _gather_padded(rows: Tensor) -> list[Tensor]:
    """Every process's rows, each as many as it has."""
    counts = [int(count) for count in gather(torch.tensor(len(rows)))]
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: len(rows)] = rows
    return [each[:count] for each, count in zip(gather(padded), counts, strict=True)]


def gather(tensor: Tensor) -> list[Tensor]:
    """Every process's tensor, in the order of ranks, on every process. Shapes must be equal."""
    if not _active():
        return [tensor]
    gathered = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(gathered, tensor)
    return gathered


def is_lost_process(error: RuntimeError) -> bool:
    """Whether a collective operation failed because another process has ended; gloo has no type of its own for that."""
    words = ("gloo/transport", "Connection closed by peer", "Connection reset by peer")
    return _active() and (isinstance(error, dist.DistError) or any(word in str(error) for word in words))


def _active() -> bool:
    return dist.is_available() and dist.is_initialized()
