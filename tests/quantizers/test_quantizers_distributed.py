"""Two processes with half of each batch are one process with the whole of it: initialisation, EMA and resets of dead codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from processes import start_group
from vqkit.core import distributed
from vqkit.quantizers.codebook import LearnedCodebook
from vqkit.registry import QUANTIZERS

STEPS, PROCESSES = 7, 2


def batch(step: int) -> Tensor:
    """A batch of six images whose features widen from step to step, so that codes die."""
    drawn = torch.randn(6, 4, 3, 5, generator=torch.Generator().manual_seed(step))
    return (0.2 + step) * drawn + step


CODEBOOK = {"num_codes": 24, "dim": 4, "reset_every": 3, "reset_threshold": 0.4, "kmeans_iterations": 4}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "ema": ("ema", CODEBOOK),
    "ema-cosine": ("ema", {**CODEBOOK, "distance": "cosine"}),
    "gradient": ("gradient", CODEBOOK),
    "gradient-cosine": ("gradient", {**CODEBOOK, "distance": "cosine"}),
    "simvq": ("simvq", {"num_codes": 24, "dim": 4}),
    "lfq": ("lfq", {"num_codes": 16, "temperature": 5.0}),
    "residual": ("residual", {"num_quantizers": 2, "inner": CODEBOOK}),
    "grouped": ("grouped", {"groups": 2, "inner": {**CODEBOOK, "name": "gradient", "dim": 2}}),
}


def train(case: str, slice_of: slice) -> dict[str, Tensor]:
    """State, indices and the features' gradients of a few steps of SGD on a slice of every batch."""
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(*CASES[case])
    if distributed.rank() == 1:
        for codebook in quantizer.modules():
            if isinstance(codebook, LearnedCodebook):
                codebook.seed.fill_(12345)  # as if the processes had been seeded apart
    recorded = {}
    for step in range(STEPS):
        features = batch(step)[slice_of].requires_grad_()
        output = quantizer(features)
        recorded[f"indices{step}"] = output.indices
        loss = output.codebook_loss + output.commitment_loss
        from_loss, *gradients = torch.autograd.grad(loss, [features, *quantizer.parameters()])
        recorded[f"gradient{step}"] = from_loss.contiguous() / distributed.world_size()
        for parameter, gradient in zip(quantizer.parameters(), gradients, strict=True):
            distributed.all_reduce(gradient)
            with torch.no_grad():
                parameter -= gradient / distributed.world_size()
        recorded |= {f"state{step}.{name}": value.clone() for name, value in quantizer.state_dict().items()}
    return recorded


def worker(rank: int, folder: str) -> None:
    for case in CASES:
        save_file(train(case, slice(3 * rank, 3 * rank + 3)), f"{folder}/{case}{rank}.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("processes")
    start_group(worker, path, PROCESSES)
    return path


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one(case: str, folder: Path) -> None:
    first, second = (load_file(folder / f"{case}{rank}.safetensors") for rank in range(PROCESSES))
    alone = train(case, slice(None))
    for key, expected in alone.items():
        if key.startswith("state"):
            assert torch.equal(first[key], second[key]), f"{key} differs between the processes"
            torch.testing.assert_close(first[key], expected, rtol=1e-4, atol=1e-4, msg=f"{key} differs from one process")
        else:
            joined = torch.cat([first[key], second[key]])
            torch.testing.assert_close(joined, expected, rtol=1e-4, atol=1e-5, msg=f"{key} differs from one process")


@pytest.mark.parametrize("case", ["ema", "residual"])
def test_the_comparison_includes_resets(case: str) -> None:
    alone = train(case, slice(None))
    name = "codes" if case == "ema" else "inner.0.codes"
    jumps = [(alone[f"state{step}.{name}"] - alone[f"state{step - 1}.{name}"]).norm(dim=1) for step in range(1, STEPS)]
    rows = batch(5).permute(0, 2, 3, 1).reshape(-1, 4)
    exact = (alone[f"state5.{name}"][:, None] == rows[None]).all(dim=2).any(dim=1)
    assert int(exact.sum()) >= 3, "codes that equal a feature of the batch have just been reset"
    assert float(jumps[4].max()) > 1
