"""Two processes with half of each batch are one process with the whole of it: start, running means and restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor

from vqkit import distributed
from vqkit.registry import QUANTIZERS

STEPS, PROCESSES = 7, 2


def batch(step: int) -> Tensor:
    """A batch of six images whose features widen from step to step, so that codes die."""
    drawn = torch.randn(6, 4, 3, 5, generator=torch.Generator().manual_seed(step))
    return (0.2 + step) * drawn + step


def train(name: str, slice_of: slice) -> dict[str, Tensor]:
    """The state after a few steps of SGD on a slice of every batch, and the codes after the first."""
    torch.manual_seed(0)
    settings = {"num_codes": 24, "dim": 4, "restart_every": 3, "restart_threshold": 0.4, "kmeans_iterations": 4}
    quantizer = QUANTIZERS.build(name, settings)
    if distributed.rank() == 1:
        quantizer.seed.fill_(12345)  # as if the processes had been seeded apart
    recorded = {}
    for step in range(STEPS):
        output = quantizer(batch(step)[slice_of])
        recorded[f"indices{step}"] = output.indices
        for codes in quantizer.parameters():
            (gradient,) = torch.autograd.grad(output.codebook_loss, codes)
            distributed.all_reduce(gradient)
            with torch.no_grad():
                codes -= gradient / distributed.world_size()
        recorded[f"codes{step}"] = quantizer.codes.detach().clone()
        recorded[f"recent{step}"] = quantizer.recent.clone()
    return recorded


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", PROCESSES)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=PROCESSES)
    for name in ("ema", "gradient"):
        save_file(train(name, slice(3 * rank, 3 * rank + 3)), f"{folder}/{name}{rank}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("processes")
    mp.spawn(worker, (str(path),), nprocs=PROCESSES)  # type: ignore[no-untyped-call]
    return path


@pytest.mark.parametrize("name", ["ema", "gradient"])
def test_two_processes_equal_one(name: str, folder: Path) -> None:
    first, second = (load_file(folder / f"{name}{rank}.safetensors") for rank in range(PROCESSES))
    alone = train(name, slice(None))
    for step in range(STEPS):
        for key in (f"codes{step}", f"recent{step}"):
            assert torch.equal(first[key], second[key]), f"{key} differs between the processes"
            torch.testing.assert_close(first[key], alone[key], rtol=1e-4, atol=1e-4, msg=f"{key} differs from one process")
        joined = torch.cat([first[f"indices{step}"], second[f"indices{step}"]])
        assert torch.equal(joined, alone[f"indices{step}"])


def test_the_comparison_has_restarts_in_it() -> None:
    alone = train("ema", slice(None))
    jumps = [(alone[f"codes{step}"] - alone[f"codes{step - 1}"]).norm(dim=1) for step in range(1, STEPS)]
    rows = batch(5).permute(0, 2, 3, 1).reshape(-1, 4)
    exact = (alone["codes5"][:, None] == rows[None]).all(dim=2).any(dim=1)
    assert int(exact.sum()) >= 3, "codes that stand exactly on a feature of the batch have just restarted"
    assert float(jumps[4].max()) > 1
