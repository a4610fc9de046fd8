"""Checks of the machine and of the installed packages."""

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
from vqkit.doctor.checks import Outcome, failed, ok, warning

MIN_FREE_BYTES = 2**30
"""Free disk space in bytes below which there is a warning: a few checkpoints of a large model."""
PRODUCT_TOLERANCE = 1e-4
"""Largest error of a 256 x 256 matrix product in float32, relative to its largest element."""
BF16_TOLERANCE = 0.02
"""The same in bfloat16, which has 8 bits of precision."""


def packages(required: Sequence[str] | None = None) -> Outcome:
    """Whether all required packages are installed. `required`: requirements such as `torch>=2.6`; by default those of vqkit."""
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


def arithmetic(device: torch.device) -> Outcome:
    """Whether a float32 matrix product on the device agrees with float64 on the CPU."""
    error = _product_error(device, "fp32")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type} ({os.cpu_count()} cores)"
    if not error <= PRODUCT_TOLERANCE:
        return failed(f"{name}: a float32 matrix product is wrong by {error:.1e} of its largest element")
    return ok(f"{name}: float32 matrix products agree with float64 ({error:.0e})")


def threads(count: int | None = None, cores: int | None = None) -> Outcome:
    """Whether torch uses at most as many threads as this process has cores."""
    count = torch.get_num_threads() if count is None else count
    cores = usable_cpus() if cores is None else cores
    if count > cores:
        return warning(f"{count} threads on {cores} cores slow each other down. Set OMP_NUM_THREADS={cores}.")
    return ok(f"{count} of {cores} cores")


def bfloat16(device: torch.device) -> Outcome:
    """Whether bfloat16 products are correct, and whether `--precision auto` uses bfloat16."""
    error = _product_error(device, "bf16")
    if not error <= BF16_TOLERANCE:
        return failed(f"a bfloat16 matrix product is wrong by {error:.1e} of its largest element. Use --precision fp32.")
    return ok("fast: --precision auto is bf16" if bf16_is_fast(device) else "slow here: --precision auto is fp32")


def torchvision() -> Outcome:
    """Whether torchvision can be imported with the installed torch. Raises `ConfigError` if not."""
    return ok(f"torchvision {import_torchvision().__version__}")


def disk(directory: Path) -> Outcome:
    """Whether files can be written atomically to an existing directory. Raises `OSError` if not."""
    probe = directory / ".vqkit-doctor"
    with write_atomically(probe) as temporary:
        temporary.write_bytes(b"vqkit")
    probe.unlink()
    free = shutil.disk_usage(directory).free
    message = f"{directory.resolve()}: writable, {free / 2**30:.1f} GiB free"
    return ok(message) if free >= MIN_FREE_BYTES else warning(f"{message}; a few checkpoints of a large model need more")


def _product_error(device: torch.device, precision: str) -> float:
    """Largest error of a matrix product in this precision, relative to the largest element of the product in float64."""
    left, right = torch.randn(2, 256, 256, generator=generator_for(0, "doctor", "product"))
    exact = left.double() @ right.double()
    with torch.inference_mode(), autocast(precision, device):
        product = left.to(device) @ right.to(device)
    return float((product.double().cpu() - exact).abs().max() / exact.abs().max())
