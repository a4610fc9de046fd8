"""Answers for images larger than the model's tile, by priors that draw in any order: all tiles share one grid of codes.

The order of a tile is repeated over the whole image, so that in every step each tile draws as many of its codes as it would alone,
spread over all of it. A code is drawn by the tile in whose middle it lies the most (`code_windows`), given all codes that earlier
steps have drawn anywhere in this tile's window: neighbours on all sides take part, and no code is drawn twice. The prior
is conditioned on what is observed in a tile and on nothing that was filled in, as in training.

The likelihood of an answer is that of all draws, each given what was known in its window: a code counts once. It is exact for this
way of drawing, at temperature 1 and without guidance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.core.memory import map_batches
from vqkit.core.randomness import generator_for, key_bytes
from vqkit.errors import ConfigError
from vqkit.inference.code_windows import NOBODY, CodeWindows
from vqkit.inference.prior_batches import fitting_batch_size
from vqkit.interfaces import Codes, Conditioning
from vqkit.interfaces.priors import Advance, Sampling
from vqkit.priors.any_order_sampling import DEFAULT_STEPS
from vqkit.priors.masked import MaskedPrior
from vqkit.priors.orders import drawn_after, fixed_order, group, known_first, random_orders, ranks_of
from vqkit.priors.sampling import advance_part, choose, evaluating, guide, gumbel_noise

_HELD_BYTES = 2**28
"""Features of observed tiles that are held from step to step; those of further tiles are computed in every step."""

Condition = Callable[[Sequence[int], Sequence[int]], Conditioning]
"""The conditioning of tiles: from the numbers of images and tiles."""


class DrawnCodes(NamedTuple):
    """Codes of A answers, each level int64 [A, H, W], 0 where none is needed, and their negative log-likelihoods float32 [A]."""

    codes: Codes
    nll: Tensor


class Round(NamedTuple):
    """Codes that are drawn at once, all given those that are `known`: its `number`, and bool [A, H, W] each."""

    number: int
    drawn: Tensor
    known: Tensor


class LevelState(NamedTuple):
    """A level while it is drawn: `codes` of this level and the coarser ones, `owners` of this one's and their `costs` in nats,
    all [A, H, W]."""

    level: int
    codes: Codes
    owners: Tensor
    costs: Tensor


class SharedCodesSampler:
    """Draws the codes of `each` answers for every image, numbered from `first`.

    `active`: the active tiles of each image; `condition`: the conditioning of tiles; `batch_size`: tiles at once, None: as many as
    memory allows. Raises `ConfigError` for the confidence order.
    """

    def __init__(
        self,
        prior: MaskedPrior,
        windows: CodeWindows,
        active: Sequence[Sequence[int]],
        condition: Condition,
        each: int,
        sampling: Sampling,
        first: int = 0,
        batch_size: int | None = None,
    ) -> None:
        sampling.check_any_order(type(prior).__name__)
        if sampling.order == "confidence":
            raise ConfigError(
                "The order confidence differs from tile to tile; images larger than the model's tile need one for all.",
                "Use halton, which is the default, or random.",
            )
        self._prior, self._windows, self._active, self._condition = prior, windows, active, condition
        self._each, self._sampling, self._first, self._batch_size = each, sampling, first, batch_size
        self._count = len(active) * each
        self._device = next(prior.parameters()).device
        self._held: dict[tuple[int, int], Tensor] = {}

    def draw(self, advance: Advance | None = None) -> DrawnCodes:
        """The codes of all levels, the coarsest first. `advance` is called with numbers of answers."""
        codes: Codes = ()
        nll = torch.zeros(self._count)
        positions = [rows * columns for rows, columns in self._windows.shapes]
        with torch.inference_mode(), evaluating(self._prior), torch.autocast(self._device.type, enabled=False):
            for level, sampling in enumerate(self._sampling.by_level(self._prior.spec.level_names)):
                share = self._count * positions[level] / sum(positions)
                state = self._draw_level(level, codes, sampling, partial(advance_part, advance, share))
                codes = state.codes
                nll += state.costs.flatten(1).sum(dim=1)
        return DrawnCodes(tuple(level.clone() for level in codes), nll.clone())

    def _draw_level(self, level: int, coarser: Codes, sampling: Sampling, advance: Advance) -> LevelState:
        owners = torch.stack([self._windows.owners(level, tiles) for tiles in self._active])
        owners = owners.repeat_interleave(self._each, dim=0)
        state = LevelState(level, (*coarser, torch.zeros_like(owners)), owners, torch.zeros(owners.shape))
        self._held.clear()
        size = self._batch_size or fitting_batch_size(self._prior, sampling, self._device)
        needed = owners != NOBODY
        total = max(1.0, float(needed.sum()) * (1 + sampling.revisions / self._steps_of(level, sampling)))
        left = 1.0

        def report(drawn: int) -> None:
            """At most what is left: revisions are of random numbers of codes."""
            nonlocal left
            done = min(left, drawn / total)
            left -= done
            advance(done)

        for step in self._rounds(level, needed, sampling):
            pairs = torch.unique(torch.stack([step.drawn.nonzero()[:, 0], owners[step.drawn]], dim=1), dim=0)

            def work(start: int, stop: int, step: Round = step, pairs: Tensor = pairs) -> None:
                report(self._draw_tiles(state, step, pairs[start:stop].tolist(), sampling))

            map_batches(len(pairs), size, work, smaller=self._batch_size is None)
        advance(left)
        return state

    def _steps_of(self, level: int, sampling: Sampling) -> int:
        """In how many steps the codes of a level are drawn."""
        height, width = self._windows.shapes[level]
        return min(sampling.draw_steps or DEFAULT_STEPS, height * width)

    def _rounds(self, level: int, needed: Tensor, sampling: Sampling) -> Iterator[Round]:
        """The steps, then the revisions."""
        height, width = self._windows.shapes[level]
        after = torch.tensor(drawn_after(height * width, self._steps_of(level, sampling)))
        if sampling.order == "random":
            orders = random_orders(sampling.seed, level, self._first, self._count, height * width)
        else:
            orders = fixed_order(sampling.order or "halton", height, width)[None]
        steps = torch.searchsorted(after, ranks_of(orders), right=True).view(-1, height, width)
        steps = self._windows.repeated(level, steps)
        for step in range(len(after)):
            yield Round(step, needed & (steps == step), needed & (steps < step))
        for revision in range(sampling.revisions):
            numbers = range(self._first, self._first + self._count)
            generators = [generator_for(sampling.seed, "revised", level, number, revision) for number in numbers]
            lots = torch.stack([torch.rand(needed.shape[1:], generator=each) for each in generators])
            again = needed & (lots < 1 / len(after))
            yield Round(len(after) + revision, again, needed & ~again)

    def _draw_tiles(self, state: LevelState, step: Round, pairs: list[tuple[int, int]], sampling: Sampling) -> int:
        """Draw the codes of a step that belong to tiles, given as pairs (answer, tile); returns their number."""
        level, own = state.level, state.codes[state.level]
        answers, tiles = zip(*pairs, strict=True)
        owned = self._windows.cut(level, state.owners, answers, tiles) == torch.tensor(tiles)[:, None, None]
        wanted = (self._windows.cut(level, step.drawn, answers, tiles) & owned).flatten(1)
        counts = wanted.sum(dim=1)
        everywhere = torch.arange(wanted.shape[1]).expand_as(wanted)
        positions, counted = group(known_first(everywhere, wanted), torch.zeros_like(counts), counts)
        valid = torch.ones_like(positions, dtype=torch.bool) if counted is None else counted
        noise = self._noise(level, step.number, pairs, counts.tolist(), sampling)
        conditional, guided = self._logits(state, step, pairs, positions, sampling)
        drawn = choose(guided, noise, sampling)
        costs = F.cross_entropy(conditional.transpose(1, 2), drawn, reduction="none")
        places = [self._windows.place(level, tile) for tile in tiles]
        columns = self._windows.shapes[level][1]
        rows_at = torch.tensor([place[0].start for place in places])[:, None] + positions // columns
        columns_at = torch.tensor([place[1].start for place in places])[:, None] + positions % columns
        at = torch.tensor(answers)[:, None].expand_as(positions)[valid], rows_at[valid], columns_at[valid]
        own[at], state.costs[at] = drawn[valid], costs[valid]
        return int(counts.sum())

    def _noise(self, level: int, step: int, pairs: Sequence[tuple[int, int]], counts: Sequence[int], sampling: Sampling) -> Tensor:
        """Gumbel noise [tiles, n, K] for the draws of each tile in a step, 0 where it has fewer than n."""
        num_codes = self._prior.spec.cardinalities[level]
        noise = torch.zeros(len(pairs), max(counts), num_codes)
        for row, (answer, tile), count in zip(noise, pairs, counts, strict=True):
            seed = int.from_bytes(key_bytes(7, sampling.seed, "window", tile, step), "little")
            row[:count] = gumbel_noise(seed, level, self._first + answer, 1, count, num_codes)[0]
        return noise

    def _logits(
        self, state: LevelState, step: Round, pairs: Sequence[tuple[int, int]], positions: Tensor, sampling: Sampling
    ) -> tuple[Tensor, Tensor]:
        """Logits [tiles, n, K] at positions of tiles, on the CPU: given the conditioning, and guided."""
        answers, tiles = zip(*pairs, strict=True)
        codes = tuple(self._windows.cut(each, own, answers, tiles).to(self._device) for each, own in enumerate(state.codes))
        known = self._windows.cut(state.level, step.known, answers, tiles).to(self._device)
        places = positions.to(self._device)
        features = self._features(state.level, [(answer // self._each, tile) for answer, tile in pairs])
        conditional = self._prior.logits_given(state.level, codes, known, places, features).cpu()
        if sampling.guidance_scale == 1:
            return conditional, conditional
        nothing = self._features_of(state.level, Conditioning.unconditional(1, self._prior.spec, self._device))
        unconditional = self._prior.logits_given(state.level, codes, known, places, nothing).cpu()
        return conditional, guide(conditional, unconditional, sampling.guidance_scale)

    def _features(self, level: int, pairs: Sequence[tuple[int, int]]) -> Tensor:
        """Features [tiles, E, h, w] of the conditioning of tiles, given as pairs (image, tile), on the device."""
        found = {pair: self._held[pair] for pair in pairs if pair in self._held}
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in found]
        if missing:
            images, tiles = zip(*missing, strict=True)
            computed = self._features_of(level, self._condition(images, tiles).map(lambda tensor: tensor.to(self._device)))
            found.update(zip(missing, computed, strict=True))
            room = _HELD_BYTES // computed[0].nbytes - len(self._held)
            self._held.update((pair, found[pair].clone()) for pair in missing[: max(0, room)])
        return torch.stack([found[pair] for pair in pairs])

    def _features_of(self, level: int, conditioning: Conditioning) -> Tensor:
        assert self._prior.conditions is not None, "a prior that completes images is conditioned on them"
        features: Tensor = self._prior.conditions(conditioning, level)
        return features
