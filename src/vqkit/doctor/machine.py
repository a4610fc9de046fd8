"""Checks of the machine and of what is installed on it."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch

from vqkit.core.atomic import write_atomically
from vqkit.core.cpus import usable_cpus
from vqkit.core.precision import autocast, bf16_is_fast
from vqkit.core.randomness import generator_for
from vqkit.core.torchvision_import import import_torchvision
from vqkit.doctor.checks import Verdict, failed, ok, warning

LEAST_FREE = 2**30
"""Bytes that should be free where runs are written: a few checkpoints of a large model."""
PRODUCT_TOLERANCE = 1e-4
"""Largest error of a product of 256 terms in float32, relative to the largest element."""
BF16_TOLERANCE = 0.02
"""The same in bfloat16, which has 8 bits of precision."""


def packages(required: Sequence[str] | None = None) -> Verdict:
    """Whether what vqkit requires is installed. `required`: requirements such as `torch>=2.6`; by default vqkit's own."""
    lines = requires("vqkit") or [] if required is None else required
    names = [re.split(r"[^A-Za-z0-9._-]", line)[0] for line in lines if "extra ==" not in line]
    missing = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return failed(f"not installed: {', '.join(missing)}. Install them with: pip install {' '.join(missing)}")
    place = f"{platform.system()} {platform.machine()}"
    return ok(f"python {platform.python_version()} on {place}, torch {torch.__version__}, {len(names)} required packages")


def arithmetic(device: torch.device) -> Verdict:
    """Whether the device multiplies matrices as float64 on the processor does."""
    error = _product_error(device, "fp32")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({os.cpu_count()} cores)"
    if not error <= PRODUCT_TOLERANCE:
        return failed(f"{name}: a float32 matrix product is wrong by {error:.1e} of its largest element")
    return ok(f"{name}: float32 matrix products agree with float64 ({error:.0e})")


def threads(count: int | None = None, cores: int | None = None) -> Verdict:
    """Whether torch uses no more threads than there are cores for this process."""
    count = torch.get_num_threads() if count is None else count
    cores = usable_cpus() if cores is None else cores
    if count > cores:
        return warning(f"{count} threads on {cores} cores wait for each other. Set OMP_NUM_THREADS={cores}.")
    return ok(f"{count} of {cores} cores")


def bfloat16(device: torch.device) -> Verdict:
    """Whether bfloat16 is computed right, and whether `--precision auto` uses it."""
    error = _product_error(device, "bf16")
    if not error <= BF16_TOLERANCE:
        return failed(f"a bfloat16 matrix product is wrong by {error:.1e} of its largest element. Use --precision fp32.")
    return ok("fast: --precision auto is bf16" if bf16_is_fast(device) else "slow here: --precision auto is fp32")


def torchvision() -> Verdict:
    """Whether torchvision can be imported beside this torch. Raises `ConfigError` when it cannot."""
    return ok(f"torchvision {import_torchvision().__version__}")


def disk(directory: Path) -> Verdict:
    """Whether files can be written, atomically, to a directory that exists. Raises `OSError` when they cannot."""
    probe = directory / ".vqkit-doctor"
    with write_atomically(probe) as temporary:
        temporary.write_bytes(b"vqkit")
    probe.unlink()
    free = shutil.disk_usage(directory).free
    found = f"{directory.resolve()}: writable, {free / 2**30:.1f} GiB free"
    return ok(found) if free >= LEAST_FREE else warning(f"{found}; a few checkpoints of a large model need more")


def _product_error(device: torch.device, precision: str) -> float:
    """Largest error of a matrix product in this precision, relative to the largest element of the exact one."""
    left, right = torch.randn(2, 256, 256, generator=generator_for(0, "doctor", "product"))
    exact = left.double() @ right.double()
    with torch.inference_mode(), autocast(precision, device):
        product = left.to(device) @ right.to(device)
    return float((product.double().cpu() - exact).abs().max() / exact.abs().max())
