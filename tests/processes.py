"""Processes of their own for tests, forked from one that has PyTorch loaded: importing it takes seconds."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
if _METHOD == "forkserver":
    loaded = [
        "torch._dynamo",
        "torch.utils.tensorboard",
        "vqkit.training.run",
        "vqkit.evaluation.autoencoder",
        "vqkit.inference.sampler",
    ]
    multiprocessing.get_context("forkserver").set_forkserver_preload(loaded)


def start(function: Callable[..., None], *arguments: Any, count: int = 1) -> None:
    """Call `function(rank, *arguments)` in processes and wait for them.

    Raises `torch.multiprocessing.ProcessRaisedException` with the traceback of one that fails, and `ProcessExitedException` for one
    that is killed.
    """
    mp.start_processes(_alone, (function, arguments), nprocs=count, start_method=_METHOD)  # type: ignore[no-untyped-call]


def start_group(function: Callable[[int, str], None], folder: Path, count: int = 2) -> None:
    """Call `function(rank, folder)` in processes that are one group (gloo) and wait for them; errors are those of `start`."""
    start(_member, function, str(folder), count, count=count)


def start_group_to_end(function: Callable[[int, str], None], folder: Path, count: int = 2) -> list[int | None]:
    """As `start_group`, but no process is ended because another one is; returns their exit codes, -9 of one that was killed."""
    context = multiprocessing.get_context(_METHOD)
    arguments = function, str(folder), count
    members = [context.Process(target=_alone, args=(rank, _member, arguments)) for rank in range(count)]  # type: ignore[attr-defined]
    for member in members:
        member.start()
    for member in members:
        member.join()
    return [member.exitcode for member in members]


def run_script(script: Path, *arguments: str, directory: Path) -> None:
    """Run a script as `python script arguments` does in a directory; errors are those of `start`."""
    start(_script, str(script), arguments, str(directory))


def _alone(rank: int, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    function(rank, *arguments)


def _member(rank: int, function: Callable[[int, str], None], folder: str, count: int) -> None:
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", count), rank=rank, world_size=count)
    function(rank, folder)
    dist.barrier()
    dist.destroy_process_group()


def _script(_: int, script: str, arguments: tuple[str, ...], directory: str) -> None:
    os.chdir(directory)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        runpy.run_path(script, run_name="__main__")
