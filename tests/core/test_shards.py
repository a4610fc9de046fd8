"""Which part of the work a shard is, and what says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqkit.core.shards import Shard, array_shard, parse_shard, process_shard
from vqkit.errors import ConfigError


@pytest.mark.parametrize(("images", "total"), [(0, 3), (2, 5), (10, 3), (64, 64), (1000, 7)])
def test_shards_are_the_whole_in_order_and_nearly_equal(images: int, total: int) -> None:
    parts = [Shard(number, total).part(range(5, 5 + images)) for number in range(total)]
    assert [image for part in parts for image in part] == list(range(5, 5 + images))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_files_of_shards_sort() -> None:
    assert Shard(3, 64).path(Path("a/codes.v1.safetensors")) == Path("a/codes.v1-00003-of-00064.safetensors")


def test_an_option_names_a_shard() -> None:
    assert parse_shard("3/64") == Shard(3, 64) and str(Shard(3, 64)) == "3/64"


@pytest.mark.parametrize("text", ["", "3", "3/", "/4", "-1/4", "a/b", "1.5/4", "4/4", "0/0", "0/100000"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="shard"):
        parse_shard(text)


def array(number: int, total: int, first: int, last: int) -> dict[str, str]:
    names = {"ID": number, "COUNT": total, "MIN": first, "MAX": last}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in names.items()}


def test_a_task_of_an_array_is_a_shard() -> None:
    chosen = array_shard(array(5, 8, 0, 7))
    assert chosen is not None and chosen.shard == Shard(5, 8) and "SLURM_ARRAY_TASK_ID" in chosen.origin
    assert array_shard({}) is None and array_shard(array(0, 1, 0, 0)) is None


@pytest.mark.parametrize("variables", [array(3, 2, 3, 7), array(5, 1, 5, 5), array(1, 8, 1, 8)])
def test_a_part_of_an_array_is_not_taken_for_the_whole(variables: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--array=0-63"):
        array_shard(variables)


def test_a_process_is_a_shard() -> None:
    chosen = process_shard({"RANK": "1", "WORLD_SIZE": "2"})
    assert chosen is not None and chosen.shard == Shard(1, 2)
    assert process_shard({}) is None and process_shard({"RANK": "0", "WORLD_SIZE": "1"}) is None
    with pytest.raises(ConfigError, match="RANK is 'one'"):
        process_shard({"RANK": "one", "WORLD_SIZE": "2"})


def test_shards_within_a_shard_are_those_of_the_whole() -> None:
    assert [Shard(inner, 2).within(Shard(outer, 3)) for outer in range(3) for inner in range(2)] == [Shard(n, 6) for n in range(6)]
