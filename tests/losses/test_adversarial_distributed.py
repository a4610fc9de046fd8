"""Two processes with half of each batch are one process with the whole of it: balance, discriminator and clipping too."""

from __future__ import annotations

from pathlib import Path

import torch
from adversarial_task import trained
from safetensors.torch import load_file, save_file

from processes import start_group


def worker(rank: int, folder: str) -> None:
    save_file(trained(3, slice(2 * rank, 2 * rank + 2)), f"{folder}/{rank}.safetensors")


def test_two_processes_equal_one(tmp_path: Path) -> None:
    start_group(worker, tmp_path)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    for key, expected in trained(3).items():
        same_everywhere = key.startswith(("state", "norm", "adaptive_weight"))
        if same_everywhere:
            assert torch.equal(first[key], second[key]), key
        joined = first[key] if same_everywhere else (first[key] + second[key]) / 2
        torch.testing.assert_close(joined, expected, rtol=1e-3, atol=1e-4, msg=f"{key} differs from one process")
