"""Shards: parts of a long piece of work that processes do without talking to each other.

Shard i of n (i from 0) is the i-th contiguous part of the images in their order. Which part that is depends on their number alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vqkit.errors import ConfigError

MOST_SHARDS = 99_999
"""So many have names that sort."""


class Shard(NamedTuple):
    """Part `number` (from 0) of `total`."""

    number: int
    total: int

    def part(self, whole: range) -> range:
        """Its contiguous part of a range; the parts differ by at most one element, and may be empty."""
        each, rest = divmod(len(whole), self.total)
        start = whole.start + self.number * each + min(self.number, rest)
        return range(start, start + each + (self.number < rest))

    def within(self, outer: Shard) -> Shard:
        """This part of another part, as a part of the whole."""
        return Shard(outer.number * self.total + self.number, outer.total * self.total)

    def path(self, whole: Path) -> Path:
        """The file of this part, beside that of the whole: `codes-00003-of-00064.safetensors`."""
        return whole.with_name(f"{whole.stem}-{self.number:05d}-of-{self.total:05d}{whole.suffix}")

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"


WHOLE = Shard(0, 1)
"""Everything."""


class ChosenShard(NamedTuple):
    """A shard, and what says so: an option or variables of the environment."""

    shard: Shard
    origin: str


def parse_shard(text: str) -> Shard:
    """`3/64` as a shard. Raises `ConfigError` for anything that is none."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise ConfigError(f"'--shard {text}' is no shard.", "Write I/N, such as --shard 0/8 for the first of eight.")
    return _checked(int(number), int(count), f"--shard {text}")


def array_shard(environment: Mapping[str, str]) -> ChosenShard | None:
    """The shard of a task of a SLURM array, numbered from 0; None outside of an array, and for an array of one task.

    Raises `ConfigError` for arrays of other numbers: a part of an array that is submitted again must not be taken for the whole.
    """
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None
    number, count = (_number(environment, f"SLURM_ARRAY_TASK_{name}", 0) for name in ("ID", "COUNT"))
    first, last = (_number(environment, f"SLURM_ARRAY_TASK_{name}", default) for name, default in (("MIN", 0), ("MAX", count - 1)))
    if first != 0 or last != count - 1:
        raise ConfigError(
            f"The SLURM array has {count} tasks, numbered {first} to {last}; shards are taken from arrays such as --array=0-63.",
            "Say which shard this is, of how many, with --shard, such as --shard $SLURM_ARRAY_TASK_ID/64.",
        )
    if count == 1:
        return None
    return ChosenShard(_checked(number, count, "SLURM_ARRAY_TASK_ID"), "SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT")


def process_shard(environment: Mapping[str, str]) -> ChosenShard | None:
    """The shard of a process that torchrun started; None for a single process."""
    count = _number(environment, "WORLD_SIZE", 1)
    if count < 2:
        return None
    return ChosenShard(_checked(_number(environment, "RANK", 0), count, "RANK"), "RANK and WORLD_SIZE")


def _checked(number: int, count: int, what: str) -> Shard:
    if not 1 <= count <= MOST_SHARDS or not 0 <= number < count:
        raise ConfigError(
            f"{what} is shard {number} of {count}.",
            f"There are 1 to {MOST_SHARDS} shards, numbered from 0: the last of eight is 7/8.",
        )
    return Shard(number, count)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise ConfigError(f"The variable {name} is '{text}', and not a number.", "Unset it, or give --shard.")
    return int(text)
