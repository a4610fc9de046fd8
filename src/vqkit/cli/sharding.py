"""Commands in parts: `--shard`, and processes that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqkit.cli import panels
from vqkit.core.shards import ChosenShard, array_shard, parse_shard, process_shard
from vqkit.errors import ConfigError, VQKitError

if TYPE_CHECKING:
    from vqkit.core.shard_records import ShardedOutput, ShardIndex

ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do only the I-th of N parts, I from 0. A shard that is finished is left out; the last one writes the index "
        "that joins all. Default: the task of a SLURM array, if there is one.",
        rich_help_panel=panels.RUNTIME,
    ),
]


def chosen_shard(option: str | None) -> ChosenShard | None:
    """The shard to do, and what says so: the option, else a SLURM array; None for everything. Raises `ConfigError`."""
    if option is not None:
        return ChosenShard(parse_shard(option), "--shard")
    return array_shard(os.environ)


def own_shard(option: str | None) -> ChosenShard | None:
    """As `chosen_shard`, for a command whose processes under torchrun do not join their results: each does a shard of its own."""
    chosen, process = chosen_shard(option), process_shard(os.environ)
    if process is None:
        return chosen
    if option is not None:
        raise ConfigError(
            f"--shard {option} is one shard, and torchrun started {process.shard.total} processes, which do one each.",
            "Leave --shard out, or do it in one process.",
        )
    if chosen is None:
        return process
    return ChosenShard(process.shard.within(chosen.shard), f"{chosen.origin}, and {process.origin} within the task")


def say_shard(chosen: ChosenShard, part: range, total: int, err: bool = False) -> None:
    """Say which shard is done, why that one, and which images it has."""
    which = f"images {part.start + 1} to {part.stop}" if part else "none"
    typer.echo(f"shard {chosen.shard} ({chosen.origin}): {which} of {total}", err=err)


def join_shards(output: ShardedOutput, err: bool = False) -> ShardIndex | None:
    """Write the index if this was the last shard, and say where the output is."""
    index = output.join()
    if index is None:
        typer.echo(f"shard {output.shard} is finished; the index follows when all {output.shard.total} are", err=err)
    else:
        typer.echo(f"all {output.shard.total} shards are finished, joined by {index.path}", err=err)
    return index


def say_finished(output: ShardedOutput, err: bool = False) -> None:
    """Say that a shard is left out."""
    typer.echo(f"shard {output.shard} is finished already: {output.file}", err=err)


@contextmanager
def processes(device: str) -> Iterator[None]:
    """Join the processes that torchrun started, if it did; only rank 0 prints, errors apart."""
    from vqkit.core import distributed
    from vqkit.core.precision import choose_device

    with distributed.process_group(choose_device(device)):
        try:
            if distributed.is_main():
                yield
                return
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield
        except RuntimeError as error:
            if not distributed.is_lost_process(error):
                raise
            raise VQKitError("Another process has ended, so this one cannot go on.", "See what it says, and start again.") from None


def part_of(chosen: ChosenShard | None, total: int) -> range:
    """The images of a shard, or all."""
    return range(total) if chosen is None else chosen.shard.part(range(total))
