"""The EMA quantizer against vector-quantize-pytorch: `python benchmarks/quantizer.py [--seconds N] [--threads N] [--out FILE]`.

Both get the same float32 features [B, D, h, w] and the same codes. Settings are equal: decay 0.99, epsilon 1e-5, commitment
weight 0.25, straight-through (`rotation_trick=False`), and dead codes are reset, those with less than a tenth of the mean number
of uses (`threshold_ema_dead_code` is a tenth of the features a code). The codebooks are in use already: no k-means.

- training: forward, backward to the features, and the update of the codebook. vqkit looks for dead codes in every tenth step, so
  its time is nine tenths that of a step without and one tenth that of a step with such a search; the peer looks in every step.
- inference: indices and quantised features, without updates and gradients;
- baseline: one plain matrix product of all features with all codes, and its argmax.

With `--memory`, also the growth of the peak memory over one call, each measured in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import Tensor

from common.memory import can_reset_peak, reset_peak, resident_mib
from common.peers import peer
from common.report import Report, Table, Target, arguments, least
from common.timing import interleaved, ratio
from vqkit.quantizers.ema import EMACodebook, EMAOptions
from vqkit.quantizers.straight_through import to_rows

PEER = peer("vector_quantize_pytorch", "vector-quantize-pytorch")


class Shape(NamedTuple):
    """Features [batch, dim, height, width] and the number of codes."""

    batch: int
    dim: int
    height: int
    width: int
    codes: int

    @property
    def words(self) -> str:
        return f"{self.batch} x {self.dim} x {self.height} x {self.width}"


SHAPES = (Shape(128, 64, 8, 8, 512), Shape(32, 64, 32, 32, 512), Shape(64, 64, 16, 16, 1024), Shape(8, 256, 16, 16, 16384))
GROWTH = tuple(Shape(32, 64, 8, 8, codes) for codes in (256, 1024, 4096, 16384, 65536))
COMMITMENT_WEIGHT = 0.25
CALLS = ("vqkit training", "peer training", "vqkit inference", "peer inference")


class Comparison:
    """Features of one shape, and both quantizers with the same codes, in the middle of a training."""

    def __init__(self, shape: Shape) -> None:
        generator = torch.Generator().manual_seed(0)
        size = (shape.batch, shape.dim, shape.height, shape.width)
        self.features = torch.randn(size, generator=generator).requires_grad_()
        self.gradient = torch.randn(size, generator=generator)
        self.codes = torch.randn(shape.codes, shape.dim, generator=generator)
        self.rows = to_rows(self.features)
        self.uses = len(self.rows) / shape.codes
        options = EMAOptions(num_codes=shape.codes, dim=shape.dim, decay=0.99, epsilon=1e-5, commitment_weight=COMMITMENT_WEIGHT)
        self.ours = EMACodebook(options)
        self.theirs = PEER and PEER.VectorQuantize(
            dim=shape.dim,
            codebook_size=shape.codes,
            decay=0.99,
            eps=1e-5,
            commitment_weight=COMMITMENT_WEIGHT,
            accept_image_fmap=True,
            rotation_trick=False,
            kmeans_init=False,
            threshold_ema_dead_code=options.reset_threshold * self.uses,
        )
        self.reset()

    def reset(self) -> None:
        """Reset both codebooks to the same codes, chosen equally often: N features in every batch, m = N e."""
        counts, sums = torch.full((len(self.codes),), self.uses), self.codes * self.uses
        state = {"codes": self.codes, "sums": sums, "counts": counts, "initialised": torch.tensor(True)}
        self.ours.load_state_dict({**self.ours.state_dict(), **state})
        if self.theirs is not None:
            codebook = self.theirs._codebook
            for buffer, value in ((codebook.embed, self.codes), (codebook.embed_avg, sums), (codebook.cluster_size, counts)):
                buffer.data.copy_(value[None])

    def calls(self) -> dict[str, Callable[[], object]]:
        """Every measured call by name."""
        calls: dict[str, Callable[[], object]] = {
            "vqkit training": lambda: self.train_ours(searching=False),
            "vqkit training, with the search": lambda: self.train_ours(searching=True),
            "peer training": self.train_theirs,
            "vqkit inference": self.infer_ours,
            "peer inference": self.infer_theirs,
            "baseline": lambda: (self.rows @ self.codes.T).argmax(1),
        }
        return calls if self.theirs is not None else {name: call for name, call in calls.items() if "peer" not in name}

    def train_ours(self, searching: bool) -> Tensor:
        """A step, after which dead codes are searched for or not."""
        self.ours._updates.write(self.ours.options.reset_every - 1 if searching else 0)
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

    def agreement(self) -> float | None:
        """Share of equal indices of both with equal codes; the rest are near ties."""
        return float((self.infer_ours() == self.infer_theirs()).double().mean()) if self.theirs is not None else None

    def _backward(self, quantized: Tensor, loss: Tensor, indices: Tensor) -> Tensor:
        torch.autograd.backward([quantized, loss], [self.gradient, torch.ones(())])
        self.features.grad = None
        return indices


def measured(shape: Shape, seconds: float) -> tuple[dict[str, float], float | None]:
    """Milliseconds of every call, and the share of equal indices."""
    comparison = Comparison(shape)
    agreement = comparison.agreement()
    times = interleaved(comparison.calls(), seconds)
    plain, searching = times["vqkit training"], times.pop("vqkit training, with the search")
    every = comparison.ours.options.reset_every
    times["vqkit training"] = ((every - 1) * plain + searching) / every
    return {name: round(value, 2) for name, value in times.items()}, agreement


def shapes_table(seconds: float) -> Table:
    """All four shapes, and the ratios in the columns 4 and 7."""
    rows: list[list[Any]] = []
    for shape in SHAPES:
        times, agreement = measured(shape, seconds)
        row: list[Any] = [shape.words, shape.codes]
        for kind in ("training", "inference"):
            row += [times[f"vqkit {kind}"], times.get(f"peer {kind}"), ratio(times, f"peer {kind}", f"vqkit {kind}")]
        rows.append([*row, times["baseline"], None if agreement is None else round(agreement, 5)])
        print(rows[-1], file=sys.stderr)
    columns = ("features B x D x h x w", "codes", "training, ms", "peer, ms", "ratio", "inference, ms", "peer, ms", "ratio")
    note = (
        "The baseline is one plain matrix product of all features with all codes and its argmax. The last column is the share of "
    )
    note += "features that get the same code from both; the others are ties up to rounding."
    return Table("EMA quantizer, dead codes reset on both sides", (*columns, "baseline, ms", "same codes"), rows, note)


def growth_table(seconds: float) -> Table:
    """vqkit alone with more and more codes."""
    rows: list[list[Any]] = []
    for shape in GROWTH:
        comparison = Comparison(shape)
        times = interleaved({"training": lambda each=comparison: each.train_ours(searching=False)}, seconds, 1, 20)
        rows.append(
            [shape.codes, round(times["training"], 2), round(1e6 * times["training"] / shape.codes / len(comparison.rows), 3)]
        )
        print(rows[-1], file=sys.stderr)
    return Table(
        "Growth with the number of codes",
        ("codes", "training, ms", "ns a code and feature"),
        rows,
        f"A training step of the quantizer alone on {GROWTH[0].words} features.",
    )


def first_step_table() -> Table:
    """The first step of a training, with k-means, and the second one."""
    rows: list[list[Any]] = []
    for shape in GROWTH[1:]:
        quantizer = EMACodebook(EMAOptions(num_codes=shape.codes, dim=shape.dim)).train()
        features = Comparison(shape).features
        seconds = []
        for _ in range(2):
            started = time.perf_counter()
            quantizer(features)
            seconds.append(round(time.perf_counter() - started, 2))
        rows.append([shape.codes, *seconds])
    note = f"Forward only, one measurement, {GROWTH[0].words} features."
    return Table("The first step, which initialises the codes by k-means", ("codes", "first step, s", "second step, s"), rows, note)


def extra_memory_mib(shape: int, call: str, threads: int) -> float | None:
    """Growth of the peak memory over one call, in MiB, measured in a new process; only on Linux."""
    if not can_reset_peak():
        return None
    command = [sys.executable, __file__, "--threads", str(threads), "--memory-of", call, "--shape", str(shape)]
    return round(float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout), 1)


def print_memory_of(call: str, shape: Shape) -> None:
    """The child's part of `extra_memory_mib`."""
    comparison = Comparison(shape)
    # Libraries allocate memory at first use, which must not count: warm up on a small input.
    small = Comparison(Shape(1, shape.dim, 2, 2, 64))
    small.calls()[call]()
    reset_peak()
    before = resident_mib("VmRSS")
    comparison.calls()[call]()
    print(resident_mib("VmHWM") - before)


def memory_table(threads: int) -> Table:
    names = [name for name in CALLS if PEER or "peer" not in name]
    rows: list[list[Any]] = [
        [shape.words, shape.codes, *(extra_memory_mib(number, name, threads) for name in names)]
        for number, shape in enumerate(SHAPES)
    ]
    return Table("Memory of one call, MiB", ("features B x D x h x w", "codes", *names), rows)


def main() -> None:
    parser = arguments(__doc__, 10)
    parser.add_argument("--memory", action="store_true", help="measure memory as well: sixteen further processes")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--shape", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        torch.set_num_threads(given.threads)
        print_memory_of(given.memory_of, SHAPES[given.shape])
        return
    about = (
        "The EMA quantizer beside `vector-quantize-pytorch` with equal settings and codes, float32. Both reset codes with fewer "
    )
    about += (
        "uses than a tenth of the mean: vqkit looks for them in every tenth step (the time is the mean of ten steps), the peer in "
    )
    about += "every step."
    report = Report("quantizer", "Quantizers", about, given, ["vector-quantize-pytorch"])
    report.tables = [shapes_table(given.seconds), growth_table(given.seconds / 5), first_step_table()]
    if given.memory:
        report.tables.append(memory_table(given.threads))
    rows = report.tables[0].rows
    report.targets = [
        Target("quantizer, training: the peer's time over vqkit's, least of four shapes", 4, least([row[4] for row in rows])),
        Target("quantizer, inference: the peer's time over vqkit's, least of four shapes", 3, least([row[7] for row in rows])),
    ]
    report.write()


if __name__ == "__main__":
    main()
