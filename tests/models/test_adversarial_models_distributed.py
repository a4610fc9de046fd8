"""Two processes with half of each batch are one process with the whole of it: draws, losses, clipping of each network."""

from __future__ import annotations

from pathlib import Path

import torch
from adversarial_cases import NAMES, trained
from safetensors.torch import load_file, save_file

from processes import start_group


def worker(rank: int, folder: str) -> None:
    for name in NAMES:
        save_file(trained(name, 2, slice(2 * rank, 2 * rank + 2)), f"{folder}/{name}-{rank}.safetensors")


def test_two_processes_equal_one(tmp_path: Path) -> None:
    start_group(worker, tmp_path)
    for name in NAMES:
        first, second = (load_file(tmp_path / f"{name}-{rank}.safetensors") for rank in (0, 1))
        for key, expected in trained(name, 2).items():
            if key.startswith("active"):  # counted within a process's share
                continue
            weight = key.startswith("state")
            if weight:
                assert torch.equal(first[key], second[key]), key
            joined = first[key] if weight else (first[key] + second[key]) / 2
            torch.testing.assert_close(joined, expected, rtol=1e-3, atol=1e-4, msg=f"{name}: {key} differs from one process")
