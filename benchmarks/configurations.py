"""Memory and speed of every configuration: `python benchmarks/configurations.py [--batch-size N] [--steps N] [--out FILE]`.

Each is trained for a few steps on synthetic images (smooth random fields) of the size of its data, in a separate process. Images
per second are the median over the steps after warm-up, peak memory is that of the process (on a GPU: of the device), and `before`
is the memory of the process before the model is built. Data loading and validation are excluded, so the metrics are those of the
model, its optimizer and its loss. For priors see benchmarks/sampling.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Threads that busy-wait at a barrier lose whole time slices when another process uses their core. Set before importing torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
import torch.nn.functional as F

from common.machine import describe_machine, describe_versions, publish
from common.memory import resident_mib
from vqkit.config import RunConfig, load_config
from vqkit.core.precision import autocast, choose_device
from vqkit.image_io.values import channel_names
from vqkit.interfaces import Batch, DataSpec
from vqkit.interfaces.tasks import TrainingState
from vqkit.registry import MODELS
from vqkit.training.optimization import GuardedOptimizerStep, build_optimizer
from vqkit.training.tasks.autoencoder import AutoencoderTask
from vqkit.training.tasks.masks import resolve_mask_kind

CONFIGS = Path(__file__).parent.parent / "configs"
SPECS = {
    "tyre": DataSpec.uniform("tyre", ("group_nc", "group_km", "bt", "fpu", "tpc"), 64, 32, "binary", exclusive=True),
    "components": DataSpec.uniform("components", ("group_nc", "group_km", "fpu"), 64, 32, "binary", exclusive=True),
    "cifar10": DataSpec.uniform("cifar10", channel_names(3), 32, 32, "intensity"),
}


def spec_of(config: RunConfig) -> DataSpec:
    """Specification of the images that a configuration is for."""
    settings = config.data.options
    if config.data.name in SPECS:
        return SPECS[config.data.name]
    size = settings.get("size")
    return DataSpec.uniform(
        config.data.name, channel_names(3), settings.get("height", size), settings.get("width", size), "intensity"
    )


def synthetic_images(spec: DataSpec, count: int) -> torch.Tensor:
    """Smooth random fields, float [count, C, H, W] in [0, 1]; thresholded for binary data."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, len(spec.components), 8, 8, generator=generator)
    fields = F.interpolate(coarse, (spec.height, spec.width), mode="bicubic").clamp(0, 1)
    return (fields > 0.5).float() if spec.value_kind == "binary" else fields


def measure(file: Path, batch_size: int | None, steps: int) -> dict[str, Any]:
    """Measure one configuration in this process."""
    config: RunConfig = load_config(file, {}, [])
    spec, device = spec_of(config), choose_device("auto")
    count = batch_size or config.training.batch_size
    images = synthetic_images(spec, count).to(device)
    before = peak_mib(device)
    torch.manual_seed(0)
    model = MODELS.build(config.model.name, config.model.options, spec)
    model.to(device, memory_format=torch.channels_last)
    task = AutoencoderTask(model, resolve_mask_kind(config.masking, spec), 0).train()
    optimizer = build_optimizer(task.optimizer_groups(), config.training)
    step = GuardedOptimizerStep(optimizer, task.optimizer_groups(), config.training.clip_norm, device)
    batch = Batch(images, torch.full((count, 0), torch.nan, device=device), torch.full((count,), -1, device=device))
    seconds = []
    for number in range(steps + 2):
        start = time.perf_counter()
        with autocast(config.training.precision, device):
            output = task(batch, TrainingState(number, 100.0))
        optimizer.zero_grad(set_to_none=True)
        output.loss.backward()
        step()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return {
        "configuration": file.name,
        "batch_size": count,
        "image": [len(spec.components), spec.height, spec.width],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "code_grids": [list(shape) for shape in getattr(model, "code_shapes", ())],
        "images_per_second": round(count / statistics.median(seconds[2:]), 1),
        "peak_mib": round(peak_mib(device)),
        "before_mib": round(before),
    }


def peak_mib(device: torch.device) -> float:
    """Peak memory of the device, or of this process, so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resident_mib("VmHWM")


def synchronise(device: torch.device) -> None:
    """Synchronise the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, help="images per step; default: that of the configuration")
    parser.add_argument("--largest-batch", type=int, default=8, help="largest batch for images of 128 px and more without a GPU")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file to write; default: print only")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.only:
        print(json.dumps(measure(arguments.only, arguments.batch_size, arguments.steps)))
        return
    results = []
    for file in sorted(CONFIGS.glob("vqvae*.yaml")):
        config: RunConfig = load_config(file, {}, [])
        large = spec_of(config).height >= 128 and not torch.cuda.is_available()
        size = arguments.batch_size or (arguments.largest_batch if large else config.training.batch_size)
        command = [sys.executable, __file__, "--only", str(file), "--steps", str(arguments.steps)]
        command += ["--threads", str(arguments.threads), "--batch-size", str(size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results.append(json.loads(done.stdout))
        print(results[-1], file=sys.stderr)
    report = {"benchmark": "configurations", "machine": describe_machine(), "versions": describe_versions()}
    publish({**report, "precision": "as configured", "results": results}, arguments.out)


if __name__ == "__main__":
    main()
