"""Sampling from a PixelCNN against pythae's sampler: `python benchmarks/prior_sampling.py [--seconds N] [--out FILE]`.

A batch of 16 samples of 512 codes, untrained weights, float32. pythae's PixelCNN with its defaults (10 layers of 64 channels) does
a full pass for every position; its time is that of a pass times the number of positions, without the drawing of codes. vqkit's
`pixelcnn` draws with caches: once of the same depth and width, and once with its own defaults (15 layers of 128 channels).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from common.peers import peer
from common.report import Report, Table, Target, arguments
from common.timing import interleaved, ratio
from vqkit.interfaces import CodeSpec
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.registry import PRIORS

PEER = peer("pythae.models.normalizing_flows", "pythae")

BATCH, CODES = 16, 512
GRIDS = ((8, 8), (16, 16), (32, 32))
EQUAL = {"layers": 10, "channels": 64}


def prior(grid: tuple[int, int], options: dict[str, Any]) -> AutoregressivePrior:
    """A PixelCNN with untrained weights."""
    torch.manual_seed(0)
    built: AutoregressivePrior = PRIORS.build("pixelcnn", options, CodeSpec(("codes",), (grid,), (CODES,)))
    return built.eval()


def peers_pass(grid: tuple[int, int]) -> Callable[[], object]:
    """One full pass of pythae's PixelCNN, as its sampler does for every position."""
    network = PEER.PixelCNN(PEER.PixelCNNConfig(input_dim=(1, *grid), n_embeddings=CODES)).eval()
    codes = torch.randint(CODES, (BATCH, 1, *grid)).float()

    @torch.inference_mode()
    def one_pass() -> None:
        network({"data": codes})

    return one_pass


def rows_of(grid: tuple[int, int], seconds: float) -> list[Any]:
    """Seconds a batch of pythae and of both of vqkit's, and how many times as long pythae takes."""
    equal, default = prior(grid, EQUAL), prior(grid, {})
    calls: dict[str, Callable[[], object]] = {"equal": lambda: equal.sample(BATCH), "default": lambda: default.sample(BATCH)}
    if PEER is not None:
        calls["pythae"] = peers_pass(grid)
    times = interleaved(calls, seconds, least=2)
    if PEER is not None:
        times["pythae"] *= grid[0] * grid[1]
    seconds_each = [round(times[name] / 1e3, 3) if name in times else None for name in ("pythae", "equal", "default")]
    found = [f"{grid[0]} x {grid[1]}", *seconds_each, ratio(times, "pythae", "equal"), ratio(times, "pythae", "default")]
    print(found, file=sys.stderr)
    return found


def main() -> None:
    given = arguments(__doc__, 10).parse_args()
    about = (
        f"Samples of {CODES} codes, batches of {BATCH}, untrained weights, float32. pythae's PixelCNN (10 layers of 64 channels) "
    )
    about += "does a full pass for every position: the time of a pass times the positions. vqkit's draws with caches."
    report = Report("prior_sampling", "Sampling from a prior", about, given, ["pythae"])
    rows = [rows_of(grid, given.seconds) for grid in GRIDS]
    columns = ("grid", "pythae, s", "vqkit, as large, s", "vqkit's default, s", "ratio, as large", "ratio, default")
    note = "As large: 10 layers of 64 channels; vqkit's default has 15 of 128."
    report.tables.append(Table("A batch of samples, growing with the grid", columns, rows, note))
    for row in rows[:2]:
        report.targets.append(Target(f"PixelCNN sampling, {row[0]} codes, as large: pythae's time over vqkit's", 15, row[4]))
    report.write()


if __name__ == "__main__":
    main()
