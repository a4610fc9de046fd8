"""Draws the codes of one level in a number of steps, with an `AnyOrderNetwork`.

Each step draws all its codes from what is known before it: kept codes, and those of earlier steps. Every draw has noise of its own
(seed, level, number of the sample), so that a sample is the same alone and in a batch.

Shapes: B samples, N positions of the level, K codes, T steps, n codes of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.core.randomness import generator_for, key_bytes
from vqkit.interfaces.priors import Advance, Sampling
from vqkit.priors.any_order_network import AnyOrderNetwork
from vqkit.priors.codes_so_far import CodesSoFar
from vqkit.priors.orders import among_first, drawn_after, fixed_order, group, known_first, random_orders
from vqkit.priors.sampling import choose, guide, gumbel_noise

DEFAULT_STEPS = 12
_CONFIDENCE_NOISE = 4.5
"""Scale of the noise on log-probabilities in the confidence order, which falls to 0 over the steps (Besnier and Chen 2023)."""


class LevelDraw(NamedTuple):
    """What to draw: `shape` (h, w) and number `level` of the grid, `num_codes` K, `first`: number of the first of B samples.

    `codes` int64 [B, N] where `kept` bool [B, N] is True; `guided`: the network's batch is twice B, the second half unconditional.
    """

    level: int
    shape: tuple[int, int]
    num_codes: int
    first: int
    codes: Tensor
    kept: Tensor
    guided: bool


class LevelSampler:
    """Draws a level; `conditions` as for `AnyOrderNetwork`, of the whole batch of the network.

    `advance` is called with fractions of the work, which sum to 1.
    """

    def __init__(
        self,
        network: AnyOrderNetwork,
        conditions: Tensor | None,
        drawn: LevelDraw,
        sampling: Sampling,
        advance: Advance,
    ) -> None:
        self._drawn, self._sampling, self._advance = drawn, sampling, advance
        self._codes = drawn.codes.clone()
        self._count, self._positions = drawn.codes.shape
        self._device = drawn.codes.device
        self._state = CodesSoFar(network, conditions, self._count * (2 if drawn.guided else 1))
        self._steps = sampling.draw_steps or DEFAULT_STEPS
        self._part = 1 / (1 + sampling.revisions / self._steps)
        self._order = sampling.order or "halton"
        self._is_known = torch.zeros_like(drawn.kept)

    def draw(self) -> Tensor:
        """The codes int64 [B, N]."""
        noise = self._noise(self._sampling.seed)
        orders = self._orders()
        known = self._drawn.kept.sum(dim=1)[: len(orders)]
        self._add(*group(orders, torch.zeros_like(known), known))
        self._report(self._drawn.kept.sum())
        hidden = self._positions - known
        plan = _plan(hidden.tolist(), self._steps).to(self._device)
        for step in range(plan.shape[1] - 1):
            start, stop = plan[:, step], plan[:, step + 1]
            if self._order == "confidence":
                positions, valid = self._surest(stop - start, noise, step)
            else:
                positions, valid = group(orders, known + start, known + stop)
                self._choose(positions, valid, noise)
            self._add(positions, valid)
            self._report((stop - start).sum() * (self._count // len(orders)))
        for number in range(self._sampling.revisions):
            self._revise(number, orders.expand(self._count, -1), hidden)
            self._advance(self._part / self._steps)
        return self._codes

    def _report(self, drawn: Tensor) -> None:
        """Advance by a number of codes."""
        self._advance(self._part * int(drawn) / self._codes.numel())

    def _revise(self, number: int, orders: Tensor, hidden: Tensor) -> None:
        """Draw a random part of the codes that were drawn once more, as many as a step draws on average."""
        seed = int.from_bytes(key_bytes(7, self._sampling.seed, "revision", number), "little")
        lots = self._uniform(seed, "revised").masked_fill(self._drawn.kept, 2)
        chosen = lots.argsort(dim=1).argsort(dim=1) < (hidden / self._steps).ceil()[:, None]
        chosen &= ~self._drawn.kept
        self._state.clear()
        others = (~chosen).sum(dim=1)
        ordered = known_first(orders, ~chosen)
        self._add(*group(ordered, torch.zeros_like(others), others))
        positions, valid = group(ordered, others, others + chosen.sum(dim=1))
        self._choose(positions, valid, self._noise(seed))

    def _choose(self, positions: Tensor, valid: Tensor | None, noise: Tensor) -> None:
        """Draw the codes at positions [B or 1, n] where `valid`."""
        if not positions.shape[1]:
            return
        logits = self._logits(positions)
        if len(positions) == 1:
            own_noise = noise[:, positions[0]]
        else:
            own_noise = noise.gather(1, positions[..., None].expand(-1, -1, noise.shape[2]))
        self._put(self._codes, positions, valid, choose(logits, own_noise, self._sampling))

    def _surest(self, counts: Tensor, noise: Tensor, step: int) -> tuple[Tensor, Tensor | None]:
        """Draw a code for every position, and keep the `counts` int64 [B] most probable: their positions [B, n], surest first."""
        logits = self._logits(torch.arange(self._positions, device=self._device)[None])
        drawn = choose(logits, noise, self._sampling)
        sure = logits.log_softmax(dim=2).gather(2, drawn[..., None])[..., 0]
        share = 1 - (step + 1) / self._steps
        lots = self._uniform(self._sampling.seed, f"confidence {step}").clamp_min(1e-10)
        sure = sure - _CONFIDENCE_NOISE * share * (-lots.log()).log()
        positions = sure.masked_fill(self._is_known, -torch.inf).topk(int(counts.max()), dim=1).indices
        valid = among_first(counts, positions.shape[1])
        self._put(self._codes, positions, valid, drawn.gather(1, positions))
        return positions, valid

    def _put(self, values: Tensor, positions: Tensor, valid: Tensor | None, new: Tensor) -> None:
        """Put `new` [B, n] into values [B, N] at positions [B or 1, n] where `valid`."""
        everywhere = positions.expand(self._count, -1)
        if valid is None:
            values.scatter_(1, everywhere, new)
        else:  # what does not count may name a position that does
            sample, place = valid.expand(self._count, -1).nonzero(as_tuple=True)
            values[sample, everywhere[sample, place]] = new[sample, place]

    def _logits(self, positions: Tensor) -> Tensor:
        """Guided logits [B, n, K]."""
        if not self._drawn.guided:
            return self._state.logits(positions)
        conditional, unconditional = self._state.logits(self._twice(positions)).chunk(2)
        return guide(conditional, unconditional, self._sampling.guidance_scale)

    def _add(self, positions: Tensor, valid: Tensor | None) -> None:
        """Let later draws see the codes at positions [B or 1, n] where `valid`."""
        if not positions.shape[1]:
            return
        everywhere = positions.expand(self._count, -1)
        self._put(self._is_known, positions, valid, torch.ones_like(everywhere, dtype=torch.bool))
        codes = self._codes.gather(1, everywhere)
        twice = 2 if self._drawn.guided else 1
        self._state.add(codes.repeat(twice, 1), self._twice(positions), None if valid is None else self._twice(valid))

    def _twice(self, rows: Tensor) -> Tensor:
        """Rows for the batch of the network."""
        return rows if len(rows) == 1 or not self._drawn.guided else rows.repeat(2, 1)

    def _orders(self) -> Tensor:
        """The positions in the order in which they are drawn, kept ones first, int64 [B, N]; one for all samples if it can be."""
        kept = self._drawn.kept
        if self._order == "random":
            seed, first = self._sampling.seed, self._drawn.first
            orders = random_orders(seed, self._drawn.level, first, self._count, self._positions).to(self._device)
        else:
            fixed = fixed_order("halton" if self._order == "confidence" else self._order, *self._drawn.shape).to(self._device)[None]
            alike = self._order != "confidence" and bool((kept == kept[0]).all())
            orders = fixed if alike else fixed.expand(self._count, -1)
        return known_first(orders, kept[: len(orders)])

    def _noise(self, seed: int) -> Tensor:
        drawn = self._drawn
        noise = gumbel_noise(seed, drawn.level, drawn.first, self._count, self._positions, drawn.num_codes)
        return noise.to(self._device)

    def _uniform(self, seed: int, purpose: str) -> Tensor:
        """A number in [0, 1) for each position of each sample, [B, N]."""
        numbers = range(self._drawn.first, self._drawn.first + self._count)
        generators = (generator_for(seed, purpose, self._drawn.level, number) for number in numbers)
        return torch.stack([torch.rand(self._positions, generator=each) for each in generators]).to(self._device)


def _plan(hidden: Sequence[int], steps: int) -> Tensor:
    """How many of each sample's hidden codes are drawn before each step and after the last, int64 [B, T + 1]."""
    each = [[0, *drawn_after(count, steps)] if count else [0] for count in hidden]
    longest = max(map(len, each))
    return torch.tensor([counts + counts[-1:] * (longest - len(counts)) for counts in each])
