"""The cost of every code given all others, under a prior that predicts codes from any that are known.

A cost in one order says what a code adds to those before it: a fault that is seen first is cheap, and what is right beside it pays.
The cost given all others blames the place itself. Its sum over the codes is minus the pseudo-log-likelihood (Besag 1975,
"Statistical Analysis of Non-Lattice Data"), not a likelihood.

A pass hides one group of codes and predicts each from all that are not hidden. Groups are lattices, so that hidden codes are
`spacing` places apart and every neighbour of one is known; a spacing as large as the grid hides one code a pass, which is exact.

Shapes: B samples, h x w a grid of codes, N = h * w positions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vqkit.interfaces import Codes, Conditioning, Prior
from vqkit.priors.masked import MaskedPrior
from vqkit.priors.orders import Order, fixed_order, ranks_of

SPACING = 2
"""Rows and columns between codes that are hidden together."""


def predicts_left_out(prior: Prior) -> bool:
    """Whether `left_out_nll` can be asked of a prior; one in raster order would need a pass for every value of every code."""
    return isinstance(prior, MaskedPrior)


def left_out_nll(prior: Prior, codes: Codes, conditioning: Conditioning, spacing: int = SPACING) -> tuple[Tensor, ...]:
    """Nats of each code given the others of its level and the coarser levels, float32 [B, h, w] of each level.

    Takes a pass for each of at most `spacing`^2 groups. Raises `TypeError` for a prior of which `predicts_left_out` is False.
    """
    if not isinstance(prior, MaskedPrior):
        raise TypeError(f"{type(prior).__name__} does not predict codes from all others")
    levels = []
    for level, own in enumerate(codes):
        costs = torch.zeros(own.shape, device=own.device)
        for hidden in lattices(*prior.spec.shapes[level], spacing):
            mask = hidden.to(own.device)
            costs = torch.where(mask, prior.level_nll(level, codes, conditioning, order_with_last(hidden)), costs)
        levels.append(costs)
    return tuple(levels)


def lattices(height: int, width: int, spacing: int) -> Iterator[Tensor]:
    """Masks bool [h, w] that together hold every position of a grid once, each at every `spacing`-th row and column."""
    for row in range(min(spacing, height)):
        for column in range(min(spacing, width)):
            hidden = torch.zeros(height, width, dtype=torch.bool)
            hidden[row::spacing, column::spacing] = True
            yield hidden


def order_with_last(hidden: Tensor) -> Order:
    """The Halton order in two steps: all positions that are not `hidden`, bool [h, w], then those that are."""
    flat, order = hidden.flatten(), fixed_order("halton", *hidden.shape)
    ranks = ranks_of(torch.cat([order[~flat[order]], order[flat[order]]]))
    return Order(ranks[None], flat.long()[None])
