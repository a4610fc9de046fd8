"""Small learned codebooks and features, for their tests."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from vqkit.quantizers.codebook import LearnedCodebook
from vqkit.registry import QUANTIZERS

BOTH = pytest.mark.parametrize("name", ["ema", "gradient"])


def build(name: str, **settings: Any) -> LearnedCodebook:
    """A codebook in training mode that has seen no features."""
    torch.manual_seed(0)
    quantizer = QUANTIZERS.build(name, {"num_codes": 16, "dim": 4, **settings})
    assert isinstance(quantizer, LearnedCodebook)
    return quantizer


def batch(seed: int, *shape: int) -> Tensor:
    """Random features [B, D, h, w]."""
    return torch.randn(shape or (4, 4, 3, 5), generator=torch.Generator().manual_seed(seed))


def started(name: str, codes: Tensor, **settings: Any) -> LearnedCodebook:
    """A codebook initialised to `codes`, with N = 1 and m = e."""
    quantizer = build(name, num_codes=len(codes), dim=codes.shape[1], **settings)
    state = {"codes": codes, "initialised": torch.tensor(True)}
    if name == "ema":
        state |= {"sums": codes, "counts": torch.ones(len(codes))}
    quantizer.load_state_dict({**quantizer.state_dict(), **state})
    return quantizer


def column(*values: float) -> Tensor:
    """Features of one dimension on a grid of one row: [1, 1, 1, w]."""
    return torch.tensor(values).view(1, 1, 1, -1)
