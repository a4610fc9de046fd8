"""Which quantizer? `python benchmarks/quantizer_choice.py --data data/cifar10_jpg [--codes N ...] [--only NAME ...] [--out FILE]`.

Trains one small `vqvae` (stride 4) for each quantizer and number of codes, all with the same number of steps, seed and batches, and
evaluates each on the test split of the data: code usage, perplexity, PSNR. Quantizers with several codes per position have the same
number of bits in total as the others: 16,384 = 128 x 128.

Times are those of the quantizer alone, forward and backward on a training batch, interleaved in one process: median wall times.
Rows that the output file already contains are not trained again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from common.machine import describe_machine, describe_versions, publish
from vqkit.interfaces import Quantizer
from vqkit.registry import QUANTIZERS

FSQ_LEVELS = {512: [8, 8, 8], 4096: [7, 5, 5, 5, 5], 16384: [8, 8, 8, 6, 5]}
SPLIT = {512: (3, 8), 4096: (2, 64), 16384: (2, 128)}
"""Codes per position and the size of their codebooks, by number of combinations."""
DIM = 64


def quantizer_settings(codes: int) -> dict[str, dict[str, Any]]:
    """Settings of every compared quantizer, by the name of its row."""
    parts, each = SPLIT[codes]
    book = {"num_codes": codes, "dim": DIM}
    inner = {"name": "ema", "num_codes": each}
    plain = {"kmeans_iterations": 0, "reset_every": 0}
    return {
        "ema": {"name": "ema", **book},
        "ema, rotation": {"name": "ema", **book, "gradient_estimator": "rotation"},
        "ema, cosine": {"name": "ema", **book, "distance": "cosine"},
        "gradient": {"name": "gradient", **book},
        "gradient, rotation": {"name": "gradient", **book, "gradient_estimator": "rotation"},
        "gradient, plain": {"name": "gradient", **book, **plain},
        "simvq": {"name": "simvq", **book},
        "fsq": {"name": "fsq", "levels": FSQ_LEVELS[codes]},
        "lfq": {"name": "lfq", "num_codes": codes},
        "residual": {"name": "residual", "num_quantizers": parts, "inner": {**inner, "dim": DIM}},
        "grouped": {"name": "grouped", "groups": parts, "inner": {**inner, "dim": DIM // parts}},
    }


def train(settings: dict[str, Any], data: Path, steps: int, run: Path) -> float:
    """Train a model with this quantizer; returns the duration in seconds."""
    start = time.perf_counter()
    vqkit(
        *("train-vqvae", "--model", "vqvae", "--data", str(data), "--steps", str(steps), "--out", str(run)),
        *("--set", "masking.max_probability=0", "--set", f"model.quantizer={json.dumps(settings)}"),
    )
    return time.perf_counter() - start


def vqkit(*arguments: str) -> str:
    """Run a command and return its standard output."""
    command = [sys.executable, "-m", "vqkit", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def measure(name: str, codes: int, data: Path, steps: int) -> dict[str, Any]:
    """Train and evaluate one row."""
    settings = quantizer_settings(codes)[name]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        seconds = train(settings, data, steps, run)
        (found,) = json.loads(vqkit("evaluate", "--run", str(run), "--keep", "r", "--json"))["evaluations"]
    levels = found["levels"]
    return {
        "quantizer": name,
        "codes": codes,
        "settings": settings,
        "steps": steps,
        "minutes": round(seconds / 60, 2),
        "usage": [round(level["usage"], 4) for level in levels],
        "perplexity": [round(level["perplexity"], 1) for level in levels],
        "psnr": round(found["full"]["psnr"], 2),
        "mse": found["full"]["mse"],
        "relative_error": found["relative_error"],
    }


def milliseconds(codes: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of a training step of each quantizer alone, on features [64, D, 8, 8]."""
    generator = torch.Generator().manual_seed(0)
    quantizers: dict[str, Quantizer] = {}
    for name, settings in quantizer_settings(codes).items():
        options = {key: value for key, value in settings.items() if key != "name"}
        quantizers[name] = QUANTIZERS.build(settings["name"], options).train()
    features = {name: torch.randn(64, quantizer.dim, 8, 8, generator=generator) for name, quantizer in quantizers.items()}
    times: dict[str, list[float]] = {name: [] for name in quantizers}
    for turn in range(rounds + 1):
        for name, quantizer in quantizers.items():
            given = features[name].requires_grad_()
            start = time.perf_counter()
            result = quantizer(given)
            loss = result.features.sum() + result.codebook_loss + quantizer.commitment_weight * result.commitment_loss
            loss.backward()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: round(statistics.median(values), 1) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of pictures; without it only times are measured")
    parser.add_argument("--codes", type=int, nargs="+", default=[512, 4096, 16384], choices=list(SPLIT))
    parser.add_argument("--only", nargs="+", help="rows to measure; default: all")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of timing; 0: none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file to write, or to resume from; default: print only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out and arguments.out.exists() else {}
    rows: list[dict[str, Any]] = before.get("results", [])
    times: dict[str, Any] = before.get("milliseconds", {})

    def save() -> None:
        report = {"benchmark": "quantizer_choice", "machine": describe_machine(), "versions": describe_versions()}
        publish(
            {
                **report,
                "data": arguments.data.name if arguments.data else before.get("data"),
                "milliseconds": times,
                "results": rows,
            },
            arguments.out,
        )

    for codes in arguments.codes:
        for name in arguments.only or quantizer_settings(codes):
            done = any((row["quantizer"], row["codes"], row["steps"]) == (name, codes, arguments.steps) for row in rows)
            if arguments.data and not done:
                rows.append(measure(name, codes, arguments.data, arguments.steps))
                save()
        if arguments.rounds:
            times[str(codes)] = milliseconds(codes, arguments.rounds)
    save()


if __name__ == "__main__":
    main()
