"""How many threads a training on a processor uses: measured before its first step, and kept in run.yaml.

Where other programs use the cores, threads wait for each other in every operation, and two may be several times slower than one.
Their number decides the last bits of a sum, so a run that resumes uses as many as it had.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from vqkit.config import AnyRunConfig
from vqkit.core import distributed
from vqkit.core.cpus import usable_cpus
from vqkit.core.precision import choose_device

ENOUGH = 1.1
"""Fewer threads are chosen where they take at most this many times as long as the fastest: what they leave others can use."""

_TURNS = 7


def with_threads(config: AnyRunConfig) -> AnyRunConfig:
    """The configuration of a new run with `training.threads`, measured in about a second.

    Unchanged where something decides it already: the setting, or OMP_NUM_THREADS; and where it does not matter: on a GPU, with one
    core, or with several processes, which torchrun gives one thread each.
    """
    decided = config.training.threads is not None or "OMP_NUM_THREADS" in os.environ
    if decided or distributed.world_size() > 1 or choose_device(config.training.device).type != "cpu" or usable_cpus() == 1:
        return config
    return keep_threads(config, fewest_fast(measured(counts_up_to(usable_cpus()))))


def keep_threads(config: AnyRunConfig, threads: int) -> AnyRunConfig:
    """The configuration with this number of threads, unless it has one."""
    if config.training.threads is not None:
        return config
    training = config.training.model_copy(update={"threads": threads})
    return config.model_copy(update={"training": training})


@contextmanager
def using_threads(threads: int | None) -> Iterator[None]:
    """Within this block PyTorch uses so many threads; None: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def counts_up_to(cores: int) -> list[int]:
    """The numbers of threads that are tried: powers of two, and all cores."""
    return sorted({*(2**power for power in range(cores.bit_length()) if 2**power <= cores), cores})


def fewest_fast(seconds: Mapping[int, float]) -> int:
    """The smallest number of threads that is nearly as fast as the fastest."""
    best = min(seconds.values())
    return min(count for count, value in seconds.items() if value <= ENOUGH * best)


def measured(counts: Sequence[int]) -> dict[int, float]:
    """Median seconds of a training step of three convolutions with so many threads, in turns; no random state changes."""
    with torch.random.fork_rng(devices=[]):
        layers = [
            nn.Conv2d(32, 64, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, 32, 3, padding=1),
        ]
        network = nn.Sequential(*layers)
        features = torch.randn(64, 32, 16, 8).contiguous(memory_format=torch.channels_last)
    times: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(_TURNS + 1):
        for count in counts:
            with using_threads(count):
                started = time.perf_counter()
                network(features).square().mean().backward()
                if turn:
                    times[count].append(time.perf_counter() - started)
    return {count: statistics.median(values) for count, values in times.items()}
