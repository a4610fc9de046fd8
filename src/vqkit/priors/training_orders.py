"""The orders in which a masked prior learns to draw codes: mostly those in which it will draw them.

Learning all orders alike costs a network most of its capacity on orders that nobody draws in. So each sample gets, at random:

    known from the start    nothing (1/2), a random share of the codes (1/4), all outside a rectangle (1/8), all inside one (1/8)
    order of the others     Halton (3/4), random (1/4)
    codes in a step         one (1/2), as many as T steps draw (1/2), with T between 4 and N, evenly in its logarithm

What is known from the start stands first in the order, and is learned as well.

Shapes: B samples, N = h * w positions of a level.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.core.distributed import local_chunk, parts
from vqkit.core.randomness import batch_generator
from vqkit.layers.compiling import never_compiled
from vqkit.priors.orders import Order, fixed_order, known_first, ranks_of

_NOTHING_KNOWN, _SHARE_KNOWN = 0.5, 0.25
_RANDOM_ORDER = 0.25
_SEVERAL_AT_ONCE = 0.5
_FEWEST_STEPS = 4


@never_compiled
def training_order(count: int, shape: tuple[int, int]) -> Order:
    """An order for each of B = `count` samples of a grid (h, w), drawn for the batch of all processes and then cut.

    Outside of training, from the global generator of the CPU.
    """
    generator = batch_generator()
    whole = count if generator is None else count * parts()
    known = random_known(whole, shape, generator)
    fixed = fixed_order("halton", *shape).expand(whole, -1)
    random = torch.rand(known.shape, generator=generator).argsort(dim=1)
    orders = torch.where(torch.rand(whole, 1, generator=generator) < _RANDOM_ORDER, random, fixed)
    ranks = ranks_of(known_first(orders, known))
    order = Order(ranks, random_steps(ranks, known.sum(dim=1, keepdim=True), generator))
    return order if generator is None else Order(*(local_chunk(each) for each in order))


def random_known(count: int, shape: tuple[int, int], generator: torch.Generator | None = None) -> Tensor:
    """Which codes are known from the start, bool [B, N]."""
    kind = torch.rand(count, 1, generator=generator)
    share = torch.rand(count, shape[0] * shape[1], generator=generator) < torch.rand(count, 1, generator=generator)
    rows, columns = (_random_interval(count, size, generator) for size in shape)
    inside = (rows[:, :, None] & columns[:, None]).flatten(1)
    rectangle = inside ^ (torch.rand(count, 1, generator=generator) < 0.5)
    return torch.where(kind < _NOTHING_KNOWN + _SHARE_KNOWN, share, rectangle) & (kind >= _NOTHING_KNOWN)


def random_steps(ranks: Tensor, known: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The step in which each code is drawn, int64 [B, N], given its place `ranks` and the number `known` int64 [B, 1] before all.

    As in `vqkit.priors.orders.drawn_after`, the share that is left falls as a cosine, but a step may be empty.
    """
    count, positions = ranks.shape
    least = math.log(min(_FEWEST_STEPS, positions))
    steps = (least + torch.rand(count, 1, generator=generator) * (math.log(positions) - least)).exp().round()
    place, hidden = ranks - known, positions - known
    left = (1 - (place + 0.5) / hidden.clamp_min(1)).clamp(0, 1)
    together = known + (left.acos() * 2 / math.pi * steps).floor().long()
    several = (torch.rand(count, 1, generator=generator) < _SEVERAL_AT_ONCE) & (place >= 0)
    return torch.where(several, together, ranks)


def _random_interval(count: int, size: int, generator: torch.Generator | None) -> Tensor:
    """Which of `size` places are in an interval of random length between 1 and `size`, bool [B, size]."""
    length = torch.randint(1, size + 1, (count, 1), generator=generator)
    start = (torch.rand(count, 1, generator=generator) * (size - length + 1)).long()
    places = torch.arange(size)
    return (places >= start) & (places < start + length)
