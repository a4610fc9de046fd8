"""Small cases of every quantizer and of its options, for the tests that apply to all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.interfaces import Quantizer
from vqkit.registry import QUANTIZERS

SMALL = {"num_codes": 24, "dim": 6}
HALF = {"num_codes": 24, "dim": 3}


class Case(NamedTuple):
    """A quantizer, its number of codes per position, and what its codebook loss trains: "parameters", "features" or nothing."""

    name: str
    settings: dict[str, Any]
    num_quantizers: int = 1
    trains: str = ""


CASES = {
    "ema": Case("ema", SMALL),
    "ema-rotation": Case("ema", {**SMALL, "gradient_estimator": "rotation"}),
    "ema-cosine": Case("ema", {**SMALL, "distance": "cosine"}),
    "gradient": Case("gradient", SMALL, trains="parameters"),
    "gradient-cosine": Case("gradient", {**SMALL, "distance": "cosine", "gradient_estimator": "rotation"}, trains="parameters"),
    "simvq": Case("simvq", SMALL, trains="parameters"),
    "simvq-cosine": Case("simvq", {**SMALL, "distance": "cosine"}, trains="parameters"),
    "fsq": Case("fsq", {"levels": [5, 4, 3, 8, 3, 4]}),
    "lfq": Case("lfq", {"num_codes": 64}, trains="features"),
    "residual": Case("residual", {"num_quantizers": 3, "inner": SMALL}, num_quantizers=3),
    "residual-one": Case("residual", {"num_quantizers": 1, "inner": SMALL}),
    "residual-gradient": Case(
        "residual", {"num_quantizers": 2, "gradient_estimator": "rotation", "inner": {"name": "gradient", **SMALL}}, 2, "parameters"
    ),
    "residual-simvq": Case("residual", {"num_quantizers": 2, "inner": {"name": "simvq", **SMALL}}, 2, "parameters"),
    "grouped": Case("grouped", {"groups": 2, "inner": HALF}, num_quantizers=2),
    "grouped-one": Case("grouped", {"groups": 1, "inner": SMALL}),
    "grouped-fsq": Case("grouped", {"groups": 2, "inner": {"name": "fsq", "levels": [5, 4, 3]}}, num_quantizers=2),
    "grouped-residual": Case(
        "grouped", {"groups": 2, "inner": {"name": "residual", "num_quantizers": 3, "inner": HALF}}, num_quantizers=6
    ),
}
FIXED = ("fsq", "lfq", "grouped-fsq")


def build(case: str, seed: int = 0) -> Quantizer:
    """The quantizer of a case, in training mode."""
    torch.manual_seed(seed)
    quantizer = QUANTIZERS.build(CASES[case].name, CASES[case].settings)
    assert isinstance(quantizer, Quantizer)
    return quantizer


def batch(seed: int, *shape: int) -> Tensor:
    """Features [B, 6, h, w] on a grid that is not square."""
    return torch.randn(shape or (4, 6, 3, 5), generator=torch.Generator().manual_seed(seed))


def started(case: str) -> Quantizer:
    """The quantizer of a case after two batches."""
    quantizer = build(case)
    for step in range(2):
        quantizer(batch(step))
    return quantizer
