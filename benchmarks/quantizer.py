"""The EMA quantizer against vector-quantize-pytorch: `python benchmarks/quantizer.py [--threads N] [--rounds N] [--out FILE]`.

Both get the same float32 features [B, D, h, w] and the same codes. Settings are equal: decay 0.99, epsilon 1e-5, commitment
weight 0.25, straight-through (`rotation_trick=False`), no k-means initialisation and no resets of dead codes (a steady state).

- training: forward, backward to the features, and the update of the codebook;
- inference: indices and quantised features, without updates and gradients;
- floor (a baseline): one plain matrix product of the same size and its argmax, `(rows @ codes.T).argmax(1)`; product: the product
  alone.

All of them are interleaved in one process, so that other load on the machine affects all alike. Times are median wall times. Extra
memory is the growth of the peak memory over one call, each measured in a separate process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor
from vector_quantize_pytorch import VectorQuantize

from common.machine import describe_machine, describe_versions, publish
from vqkit.quantizers.ema import EMACodebook, EMAOptions
from vqkit.quantizers.nearest import chunk_rows
from vqkit.quantizers.straight_through import to_rows


class Shape(NamedTuple):
    """Features [batch, dim, height, width] and the number of codes."""

    batch: int
    dim: int
    height: int
    width: int
    codes: int


SHAPES = (Shape(128, 64, 8, 8, 512), Shape(32, 64, 32, 32, 512), Shape(64, 64, 16, 16, 1024), Shape(8, 256, 16, 16, 16384))
COMMITMENT_WEIGHT = 0.25


class Comparison:
    """Features of one shape, and both quantizers with the same codes."""

    def __init__(self, shape: Shape) -> None:
        generator = torch.Generator().manual_seed(0)
        size = (shape.batch, shape.dim, shape.height, shape.width)
        self.features = torch.randn(size, generator=generator).requires_grad_()
        self.gradient = torch.randn(size, generator=generator)
        self.codes = torch.randn(shape.codes, shape.dim, generator=generator)
        self.rows = to_rows(self.features)
        options = EMAOptions(
            num_codes=shape.codes, dim=shape.dim, decay=0.99, epsilon=1e-5, commitment_weight=COMMITMENT_WEIGHT, reset_every=0
        )
        self.ours = EMACodebook(options)
        self.theirs = VectorQuantize(
            dim=shape.dim,
            codebook_size=shape.codes,
            decay=0.99,
            eps=1e-5,
            commitment_weight=COMMITMENT_WEIGHT,
            accept_image_fmap=True,
            rotation_trick=False,
            kmeans_init=False,
            threshold_ema_dead_code=0,
        )
        self.reset()

    def reset(self) -> None:
        """Reset both codebooks to the same codes, N = 1 and m = e."""
        ones, codes = torch.ones(len(self.codes)), self.codes
        state = {"codes": codes, "sums": codes, "counts": ones, "initialised": torch.tensor(True)}
        self.ours.load_state_dict({**self.ours.state_dict(), **state})
        codebook = self.theirs._codebook
        for buffer, value in ((codebook.embed, codes), (codebook.embed_avg, codes), (codebook.cluster_size, ones)):
            buffer.data.copy_(value[None])

    def calls(self) -> dict[str, Callable[[], object]]:
        """Every measured call by name."""
        return {
            "vqkit training": self.train_ours,
            "reference training": self.train_theirs,
            "vqkit inference": self.infer_ours,
            "reference inference": self.infer_theirs,
            "floor": lambda: (self.rows @ self.codes.T).argmax(1),
            "product": lambda: self.rows @ self.codes.T,
        }

    def train_ours(self) -> Tensor:
        output = self.ours.train()(self.features)
        return self._backward(output.features, COMMITMENT_WEIGHT * output.commitment_loss, output.indices)

    def train_theirs(self) -> Tensor:
        quantized, indices, loss = self.theirs.train()(self.features)
        return self._backward(quantized, loss.squeeze(), indices)

    @torch.no_grad()
    def infer_ours(self) -> Tensor:
        indices = self.ours.eval().encode(self.features)
        self.ours.decode(indices)
        return indices

    @torch.no_grad()
    def infer_theirs(self) -> Tensor:
        indices: Tensor = self.theirs.eval()(self.features)[1]
        return indices

    def agreement(self) -> float:
        """Share of equal indices of both with equal codes; the rest are near ties."""
        self.reset()
        return float((self.infer_ours() == self.infer_theirs()).double().mean())

    def _backward(self, quantized: Tensor, loss: Tensor, indices: Tensor) -> Tensor:
        torch.autograd.backward([quantized, loss], [self.gradient, torch.ones(())])
        self.features.grad = None
        return indices


def median_milliseconds(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median wall time of each call over `rounds` interleaved rounds, after one warm-up round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def extra_memory_mib(shape: int, call: str, threads: int) -> float | None:
    """Growth of the peak memory over one call, in MiB, measured in a new process; only on Linux."""
    if not Path("/proc/self/clear_refs").exists():
        return None
    command = [sys.executable, __file__, "--threads", str(threads), "--memory-of", call, "--shape", str(shape)]
    return round(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout), 1)


def print_memory_of(call: str, shape: Shape) -> None:
    """The child's part of `extra_memory_mib`."""
    comparison = Comparison(shape)
    # Libraries allocate memory at first use, which must not count: warm up on a small input.
    small = Comparison(Shape(1, shape.dim, 2, 2, 64))
    small.calls()[call]()
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the peak to the current memory
    before = resident_mib("VmRSS")
    comparison.calls()[call]()
    print(resident_mib("VmHWM") - before)


def resident_mib(key: str) -> float:
    """Memory of this process now (`VmRSS`) or at its peak (`VmHWM`), as Linux counts it.

    Not `getrusage`: its peak outlives `exec`, so that a child starts with its parent's.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition(f"{key}:")[2].split()[0]) / 1024


def measure(number: int, rounds: int, threads: int) -> dict[str, Any]:
    """All measurements of one shape."""
    shape = SHAPES[number]
    comparison = Comparison(shape)
    agreement = comparison.agreement()
    times = median_milliseconds(comparison.calls(), rounds)
    rows = shape.batch * shape.height * shape.width
    chunk = min(rows, chunk_rows(shape.codes, torch.device("cpu"))) * shape.codes
    return {
        "shape": shape._asdict(),
        "equal_indices": agreement,
        "median_ms": times,
        "training_ratio": round(times["reference training"] / times["vqkit training"], 2),
        "inference_ratio": round(times["reference inference"] / times["vqkit inference"], 2),
        "inference_over_floor": round(times["vqkit inference"] / times["floor"], 2),
        "inference_over_product": round(times["vqkit inference"] / times["product"], 2),
        "all_distances_mib": round(rows * shape.codes * 4 / 2**20, 1),
        "distances_held_mib": round(chunk * 4 / 2**20, 1),
        "extra_memory_mib": {
            name: extra_memory_mib(number, name, threads) for name in comparison.calls() if name not in ("floor", "product")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print_memory_of(arguments.memory_of, SHAPES[arguments.shape])
        return
    report = {
        "benchmark": "quantizer",
        "machine": describe_machine(),
        "versions": describe_versions("vector-quantize-pytorch"),
        "rounds": arguments.rounds,
        "results": [measure(number, arguments.rounds, arguments.threads) for number in range(len(SHAPES))],
    }
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
