"""Other places for codes that nobody chooses."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.errors import ConfigError

NOISE = 0.01
"""Deviation of a copy from its original, as a share of the codes' own deviation."""


@torch.no_grad()
def beside_used_codes(codes: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Codes float32 [K, D] in which each that was never chosen is a copy of another, slightly apart.

    `counts` int64 [K]: how often each code was chosen over a whole data set. The copied code is drawn with probability
    proportional to its count. Returns which codes moved, bool [K], and the codes, both on the device of the codes.
    Raises `ConfigError` when no code at all was chosen.
    """
    assert counts.shape == codes.shape[:1], f"{tuple(counts.shape)} counts for {len(codes)} codes"
    unused = counts.cpu() == 0
    number = int(unused.sum())
    if number == len(codes):
        raise ConfigError(
            "None of the codes was ever chosen, so there is none to copy.", "Count the codes of a data set with images."
        )
    moved = codes.detach().cpu().clone()
    if number:
        source = torch.multinomial(counts.cpu().double(), number, replacement=True, generator=generator)
        noise = torch.randn(number, codes.shape[1], generator=generator)
        moved[unused] = moved[source] + NOISE * moved.std(dim=0) * noise
    return unused.to(codes.device), moved.to(codes.device)
