"""Latency and throughput of inpainting: `python benchmarks/inpaint.py [--run RUN] [--threads N] [--out FILE]`.

Milliseconds per image for a single image and for a batch of 64: through the Python interface (uint8 in, final uint8 out, everything
included) and for the network alone. Without `--run`, the default model with untrained weights on images of the shape of `tyre`,
which is as fast as a trained one. Times are median wall times; CPU time, which other processes disturb less, is reported as well.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import vqkit
from common.machine import describe_machine, describe_versions, publish
from vqkit.config import NamedOptions
from vqkit.core.precision import bf16_is_fast
from vqkit.inference.pipeline import Pipeline
from vqkit.interfaces import ConditionSpec, DataSpec
from vqkit.registry import MODELS
from vqkit.storage.checkpoints import Loaded

BATCH = 64
TYRE = DataSpec.uniform(
    "tyre",
    ("group_nc", "group_km", "bt", "fpu", "tpc"),
    64,
    32,
    "binary",
    exclusive=True,
    conditions=(ConditionSpec("width_px", 40, 64, 52, 5), ConditionSpec("height_px", 40, 60, 50, 5)),
)


def milliseconds(call: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median wall and CPU time of a call over `repeats` runs, after a tenth as many warm-up runs."""
    wall, processor = [], []
    for number in range(-max(2, repeats // 10), repeats):
        started, used = time.perf_counter(), time.process_time()
        call()
        if number >= 0:
            wall.append(time.perf_counter() - started)
            processor.append(time.process_time() - used)
    return {"wall": 1e3 * statistics.median(wall), "processor": 1e3 * statistics.median(processor)}


def untrained() -> Pipeline:
    """The default model with untrained weights for images of the shape of `tyre`."""
    model = MODELS.build("vqvae", {}, TYRE).to(memory_format=torch.channels_last).eval()
    return Pipeline(Loaded(model, Path("untrained"), "", NamedOptions(name="tyre"), {}), torch.device("cpu"))


def measure(pipeline: Pipeline, repeats: int) -> dict[str, dict[str, float]]:
    """Milliseconds per image of each measurement, by name."""
    spec = pipeline.spec
    keep = [spec.components[0]]
    numbers = torch.randint(len(spec.components) + 1, (BATCH, spec.height, spec.width), generator=torch.Generator().manual_seed(0))
    steps = torch.arange(1, len(spec.components) + 1)[None, :, None, None]
    images = ((numbers[:, None] == steps).to(torch.uint8) * 255).numpy()
    soft = torch.from_numpy(images).float() / 255
    observed = torch.zeros(soft.shape, dtype=torch.bool)
    observed[:, 0] = True

    def network(count: int) -> torch.Tensor:
        return pipeline.fill(soft[:count], observed[:count])

    timed = {
        "one image": milliseconds(lambda: pipeline.inpaint(images[0], keep=keep), repeats),
        "one image, network alone": milliseconds(lambda: network(1), repeats),
        f"batch of {BATCH}": milliseconds(lambda: pipeline.inpaint(images, keep=keep), repeats // 10),
        f"batch of {BATCH}, network alone": milliseconds(lambda: network(BATCH), repeats // 10),
    }
    return {
        name: {clock: round(value / (BATCH if "batch" in name else 1), 3) for clock, value in times.items()}
        for name, times in timed.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="a trained run; default: the default model, untrained")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pipeline = vqkit.load(arguments.run, "cpu") if arguments.run else untrained()
    report = {
        "benchmark": "inpaint",
        "machine": describe_machine(),
        "versions": describe_versions(),
        "precision": "bf16" if bf16_is_fast(pipeline.device) else "fp32",
        "model": str(pipeline.path),
        "parameters": sum(parameter.numel() for parameter in pipeline.model.parameters()),
        "milliseconds_an_image": measure(pipeline, arguments.repeats),
    }
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
