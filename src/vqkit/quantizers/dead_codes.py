"""New values for dead codes, given how often each code is used in a whole data set."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.errors import ConfigError

NOISE = 0.01
"""Standard deviation of the noise added to a copied code, relative to the standard deviation of all codes."""


@torch.no_grad()
def reset_dead_codes(codes: Tensor, counts: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace each code that was never chosen by a noisy copy of one that was, drawn with probability proportional to its count.

    `codes` float32 [K, D]; `counts` int64 [K], how often each code was chosen in a data set; `generator` on the CPU. Returns which
    codes are dead, bool [K], and the new codes, float32 [K, D], both on the device of `codes`. Raises `ConfigError` when no code
    at all was chosen.
    """
    assert counts.shape == codes.shape[:1], f"{tuple(counts.shape)} counts for {len(codes)} codes"
    dead = counts.cpu() == 0
    number = int(dead.sum())
    if number == len(codes):
        raise ConfigError(
            "None of the codes was ever chosen, so there is none to copy.", "Count the codes of a data set that has images."
        )
    replaced = codes.detach().cpu().clone()
    if number:
        source = torch.multinomial(counts.cpu().double(), number, replacement=True, generator=generator)
        noise = torch.randn(number, codes.shape[1], generator=generator)
        replaced[dead] = replaced[source] + NOISE * replaced.std(dim=0) * noise
    return dead.to(codes.device), replaced.to(codes.device)
