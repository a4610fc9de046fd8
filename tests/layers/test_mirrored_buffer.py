from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vqkit.layers.mirrored_buffer import MirroredBuffer


class Counter(nn.Module):
    """A module with a flag and a count, both mirrored."""

    flag: torch.Tensor
    count: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mirrored_flag = MirroredBuffer(self, "flag", False)
        self.mirrored_count = MirroredBuffer(self, "count", 3)


def test_it_registers_a_buffer_of_the_type_of_its_value() -> None:
    state = Counter().state_dict()
    assert list(state) == ["flag", "count"]
    assert (state["flag"].dtype, state["count"].dtype) == (torch.bool, torch.int64)
    assert (state["flag"].item(), state["count"].item()) == (False, 3)


def test_a_value_is_written_to_the_host_and_to_the_buffer() -> None:
    counter = Counter()
    counter.mirrored_flag.write(True)
    counter.mirrored_count.write(counter.mirrored_count.read() + 1)
    assert counter.mirrored_flag.read() is True
    assert counter.mirrored_count.read() == 4
    assert bool(counter.flag)
    assert int(counter.count) == 4


def test_the_buffer_is_read_only_once() -> None:
    counter = Counter()
    assert counter.mirrored_count.read() == 3
    counter.to("meta")  # where a tensor has no value to read
    assert counter.mirrored_count.read() == 3
    with pytest.raises(RuntimeError):
        counter.mirrored_flag.read()


def test_a_value_follows_its_module_to_another_device() -> None:
    counter = Counter()
    counter.mirrored_count.read()
    counter.to("meta")
    counter.mirrored_count.write(5)
    assert counter.mirrored_count.read() == 5
    assert counter.count.device.type == "meta"


@pytest.mark.parametrize("assign", [False, True])
def test_a_loaded_state_replaces_the_value(assign: bool) -> None:
    outer = nn.Sequential(Counter())
    counter = outer[0]
    assert isinstance(counter, Counter)
    counter.mirrored_count.write(7)
    outer.load_state_dict({"0.flag": torch.tensor(True), "0.count": torch.tensor(40)}, assign=assign)
    assert counter.mirrored_count.read() == 40
    assert counter.mirrored_flag.read() is True
    counter.mirrored_count.write(41)
    assert int(outer.state_dict()["0.count"]) == 41


def test_a_copy_has_a_mirror_of_its_own() -> None:
    counter = Counter()
    counter.mirrored_count.write(7)
    twin = copy.deepcopy(counter)
    twin.mirrored_count.write(8)
    assert (counter.mirrored_count.read(), int(counter.count)) == (7, 7)
    assert (twin.mirrored_count.read(), int(twin.count)) == (8, 8)
    twin.load_state_dict(counter.state_dict())
    assert twin.mirrored_count.read() == 7
