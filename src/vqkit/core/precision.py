"""Which device, and which arithmetic on it."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from vqkit.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """auto: a GPU if there is one. Raises `ConfigError` for a device that is not there."""
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"There is no device '{name}'.", "Known: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "The device cuda was asked for, but this torch sees no GPU.", "Use --device cpu, or install a CUDA build of torch."
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices itself (measured 3 to 5 times faster than float32 where it does).

    Read off the hardware, never timed: a run must not depend on how busy the machine was when it started.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.backends.cpu.get_cpu_capability()
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    has_avx = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return capabilities == "AVX512" and (has_tiles or has_avx)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context that networks run in: bfloat16 matrix products and convolutions, or nothing at all."""
    if precision == "bf16" or (precision == "auto" and bf16_is_fast(device)):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
