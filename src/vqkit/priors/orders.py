"""Orders in which the codes of a grid are drawn, and how many in each step.

halton      spread evenly over the grid at every step, so that codes drawn in one step are far apart (Besnier et al. 2025, "Halton
            Scheduler For Masked Generative Image Transformer", arXiv 2503.17076); the same for all samples
random      another order for each sample
raster      row by row, as in priors that draw no other way
confidence  the codes that the prior is surest of first, chosen at every step (see `vqkit.priors.masked`)

Shapes: N = h * w positions, numbered row by row.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for


class Order(NamedTuple):
    """An order of the positions of a level: `ranks` int64 [B or 1, N], the place of each; `steps`, in which of T it is drawn."""

    ranks: Tensor
    steps: Tensor


def fixed_order(name: str, height: int, width: int) -> Tensor:
    """The positions of a grid in the order `halton` or `raster`, int64 [N]."""
    if name == "raster":
        return torch.arange(height * width)
    return halton_order(height, width)


def halton_order(height: int, width: int) -> Tensor:
    """The positions of a grid in the order in which a Halton sequence (bases 2 and 3) first visits their cells, int64 [N]."""
    count, number = height * width, 1
    order: list[int] = []
    seen: set[int] = set()
    while len(order) < count:
        position = int(radical_inverse(number, 2) * height) * width + int(radical_inverse(number, 3) * width)
        number += 1
        if position not in seen:
            seen.add(position)
            order.append(position)
    return torch.tensor(order)


def radical_inverse(number: int, base: int) -> float:
    """The digits of a number in a base, mirrored at the point: in [0, 1)."""
    inverse, place = 0.0, 1.0
    while number:
        number, digit = divmod(number, base)
        place /= base
        inverse += digit * place
    return inverse


def random_orders(seed: int, level: int, first: int, count: int, positions: int) -> Tensor:
    """An order for each of the samples numbered from `first`, int64 [count, N]: a function of (seed, level, number)."""
    numbers = range(first, first + count)
    return torch.stack([torch.randperm(positions, generator=generator_for(seed, "order", level, number)) for number in numbers])


def ranks_of(orders: Tensor) -> Tensor:
    """The place of each position in the orders [..., N]: their inverse."""
    return orders.argsort(dim=-1)


def drawn_after(count: int, steps: int) -> list[int]:
    """How many of `count` codes are drawn after each step, the last of which is `count`.

    The share that is not drawn yet falls as the cosine in Chang et al. 2022, "MaskGIT" (arXiv 2202.04200): few codes in the first
    steps, in which least is known. Every step draws at least one, so that there are at most `count` steps.
    """
    steps = min(steps, count)
    drawn: list[int] = []
    for step in range(1, steps + 1):
        wanted = count - round(count * math.cos(math.pi / 2 * step / steps))
        least = (drawn[-1] if drawn else 0) + 1
        drawn.append(min(max(wanted, least), count - (steps - step)))
    return drawn


def known_first(orders: Tensor, known: Tensor) -> Tensor:
    """The orders int64 [B, N] with the positions that are `known` bool [B, N] moved to the front, otherwise as they were."""
    return orders.gather(1, (~known).gather(1, orders).long().argsort(dim=1, stable=True))


def group(orders: Tensor, start: Tensor, stop: Tensor) -> tuple[Tensor, Tensor | None]:
    """The positions [B, n] from place `start` to `stop` int64 [B] of each order [B, N], and which count, unless all do."""
    counts = stop - start
    places = torch.arange(int(counts.max()), device=orders.device)
    positions = orders.gather(1, (start[:, None] + places).clamp_max(orders.shape[1] - 1))
    return positions, among_first(counts, len(places))


def among_first(counts: Tensor, most: int) -> Tensor | None:
    """Which of `most` places are among the first `counts` int64 [B], bool [B, n]; None if all are."""
    if bool((counts == most).all()):
        return None
    return torch.arange(most, device=counts.device) < counts[:, None]
