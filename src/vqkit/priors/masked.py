"""A prior that draws codes in any order, many at once, from those that are known (order-agnostic autoregressive: Uria et al. 2014,
"A Deep and Tractable Density Estimator"; Hoogeboom et al. 2022, "Autoregressive Diffusion Models", arXiv 2110.02037).

    log p(codes | order) = sum over codes of log p(code | codes that come earlier in the order, coarser levels, conditions)

`nll` is exact for one order. The mean over orders of -log p(codes | order) is never below -log of the mean over orders of p, so it
is a bound on the cost of codes whose order was drawn at random, and `bound` estimates it. Every training step takes a new order for
each image. Where we depart from the papers: most of them are orders in which codes will be drawn, not all orders alike
(`vqkit.priors.training_orders`).

In T steps, all codes of a step are drawn from what the earlier steps have drawn. That, too, is a distribution whose likelihood
one pass gives (`nll` with steps): it differs from that of N steps where codes drawn together depend on each other.

The network is `vqkit.priors.any_order_network`, one for each level; finer levels are conditioned on coarser codes like in
`vqkit.priors.hierarchical`. Revisions hide a random part of the codes again and draw it anew, given all others (in the spirit of
Wang et al. 2025, "Remasking Discrete Diffusion Models with Inference-Time Scaling", arXiv 2503.00307).

Shapes: B samples, N = h * w positions of a level, K codes, E features.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from vqkit.config import Settings
from vqkit.interfaces import Codes, CodeSpec, Conditioning, Prior
from vqkit.interfaces.priors import DEFAULT_SAMPLING, Advance, Sampling
from vqkit.layers.module_list import TypedModuleList
from vqkit.layers.prior_conditions import PriorConditions
from vqkit.priors.any_order_network import AnyOrderNetwork
from vqkit.priors.any_order_sampling import DEFAULT_STEPS, LevelDraw, LevelSampler
from vqkit.priors.coarser_codes import CoarserCodes
from vqkit.priors.codes_so_far import CodesSoFar
from vqkit.priors.orders import Order, drawn_after, fixed_order, group, known_first, random_orders, ranks_of
from vqkit.priors.sampling import advance_part, conditioning_of, evaluating, is_guided, with_unconditional
from vqkit.priors.training_orders import training_order
from vqkit.registry import PRIORS


class MaskedOptions(Settings):
    """Settings of the masked prior."""

    width: int = Field(192, ge=8, description="Features of a position; a multiple of `head_width`.")
    layers: int = Field(6, ge=2, description="Layers of a level: half look at known codes, half predict from them.")
    head_width: int = Field(32, ge=4, description="Features of one attention head.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout of inputs and feed-forward outputs.")
    blocks: int = Field(3, ge=1, description="Residual blocks over the coarser codes; the coarsest level has none.")

    @model_validator(mode="after")
    def _whole_heads(self) -> MaskedOptions:
        if self.width % self.head_width:
            raise ValueError(f"the width ({self.width}) must be a multiple of head_width ({self.head_width})")
        return self


class KeptCodes(NamedTuple):
    """Codes int64 [B, h, w] of each level, and where they are known, bool [B, h, w] of each."""

    codes: Codes
    known: tuple[Tensor, ...]


@PRIORS.register("masked")
class MaskedPrior(Prior):
    """Codes in any order, many at once, each given all that are known; see the module."""

    Options = MaskedOptions
    options: MaskedOptions

    def __init__(self, options: MaskedOptions, spec: CodeSpec) -> None:
        super().__init__(options, spec)
        self.conditions = PriorConditions(spec, options.width) if spec.is_conditional else None
        levels = list(zip(spec.cardinalities, spec.shapes, strict=True))
        sizes = options.width, options.layers, options.head_width, options.dropout
        self.networks = TypedModuleList([AnyOrderNetwork(codes, shape, *sizes) for codes, shape in levels])
        self.coarser = TypedModuleList(
            [
                CoarserCodes(spec.cardinalities[:level], levels[level][1], options.width, options.blocks)
                for level in range(1, len(levels))
            ]
        )

    def nll(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """See `Prior.nll`: in evaluation exact under the Halton order, one code a step; in training under random orders.

        These are drawn from the global generator of the CPU.
        """
        orders = [
            training_order(len(own), shape) if self.training else self.order(level)
            for level, (own, shape) in enumerate(zip(codes, self.spec.shapes, strict=True))
        ]
        return tuple(self.level_nll(level, codes, conditioning, order) for level, order in enumerate(orders))

    def level_nll(self, level: int, codes: Codes, conditioning: Conditioning, order: Order) -> Tensor:
        """The exact cost of the codes of one level in an order, nats float32 [B, h, w]; `codes`: this and the coarser levels."""
        logits = self.logits(level, codes, conditioning, order).flatten(2).transpose(1, 2)
        nll = F.cross_entropy(logits.flatten(0, 1).float(), codes[level].flatten(), reduction="none")
        return nll.view(codes[level].shape)

    def logits(self, level: int, codes: Codes, conditioning: Conditioning, order: Order | None = None) -> Tensor:
        """Logits [B, K, h, w] of every position of a level, given those of earlier steps of the order and all coarser levels.

        By default one code a step, in the Halton order. `codes`: this level and the coarser ones.
        """
        order = order or self.order(level)
        own = codes[level].flatten(1)
        features = self.condition_features(level, codes[:level], conditioning)
        logits = self.networks[level](own, order.ranks.to(own.device), order.steps.to(own.device), features)
        return logits.transpose(1, 2).unflatten(2, self.spec.shapes[level])

    def steps_nll(self, codes: Codes, conditioning: Conditioning, sampling: Sampling) -> tuple[Tensor, ...]:
        """The exact cost of codes drawn in the steps of `sampling`, at temperature 1 without guidance.

        In the raster order if `sampling` has it, otherwise in the Halton order.
        """
        steps, name = sampling.draw_steps or DEFAULT_STEPS, "raster" if sampling.order == "raster" else "halton"
        return tuple(self.level_nll(level, codes, conditioning, self.order(level, name, steps)) for level in range(len(codes)))

    def bound(self, codes: Codes, conditioning: Conditioning, orders: int, seed: int = 0, first: int = 0) -> tuple[Tensor, ...]:
        """The mean cost over random orders, float32 [B, h, w] of each level: an unbiased estimate of the bound.

        The orders are functions of the seed and the images' numbers, which count from `first`.
        """
        totals = []
        for level, own in enumerate(codes):
            drawn = (random_orders(seed, level, (first + image) * orders, orders, own[0].numel()) for image in range(len(own)))
            ranks = ranks_of(torch.stack(list(drawn), dim=1))
            each = [self.level_nll(level, codes, conditioning, Order(one, one)) for one in ranks]
            totals.append(torch.stack(each).mean(dim=0))
        return tuple(totals)

    def order(self, level: int, name: str = "halton", steps: int | None = None) -> Order:
        """A fixed order of a level's positions in T steps, by default one code a step."""
        height, width = self.spec.shapes[level]
        ranks = ranks_of(fixed_order(name, height, width))
        after = torch.tensor(drawn_after(height * width, steps or height * width))
        return Order(ranks[None], torch.searchsorted(after, ranks, right=True)[None])

    def condition_features(self, level: int, coarser: Codes, conditioning: Conditioning) -> Tensor | None:
        """Features of a level's conditioning and coarser codes, [B, E, 1, 1] or [B, E, h, w]; None if it has neither."""
        own = None if self.conditions is None else self.conditions(conditioning, level)
        return self._with_coarser(level, coarser, own)

    def logits_given(self, level: int, codes: Codes, known: Tensor, positions: Tensor, own: Tensor | None) -> Tensor:
        """Logits float32 [B, n, K] at positions int64 [B, n] of a level, given its codes where `known` bool [B, h, w].

        `codes`: this level and the coarser ones, which are known everywhere; `own`: features of the level's conditioning, from
        `conditions`. No gradient. The logits are those of `logits` under an order in which the known codes come first, in the
        Halton order among themselves.
        """
        given = codes[level].flatten(1)
        orders = fixed_order("halton", *self.spec.shapes[level]).to(given.device).expand(len(given), -1)
        counts = known.flatten(1).sum(dim=1)
        places, valid = group(known_first(orders, known.flatten(1)), torch.zeros_like(counts), counts)
        with torch.inference_mode(), evaluating(self), torch.autocast(given.device.type, enabled=False):
            so_far = CodesSoFar(self.networks[level], self._with_coarser(level, codes[:level], own), len(given))
            if places.shape[1]:
                so_far.add(given.gather(1, places), places, valid)
            logits = so_far.logits(positions)
        return logits.clone()

    def _with_coarser(self, level: int, coarser: Codes, own: Tensor | None) -> Tensor | None:
        """Features of the conditioning with those of the coarser codes, if there are any."""
        if not level:
            return own
        features: Tensor = self.coarser[level - 1](coarser)
        return features if own is None else own + features

    def sample(
        self,
        batch_size: int,
        conditioning: Conditioning | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        first: int = 0,
        advance: Advance | None = None,
        kept: KeptCodes | None = None,
    ) -> Codes:
        """See `Prior.sample`. Always float32, so that caches and full passes agree.

        `kept`: codes that are not drawn, and that all others see.
        """
        device = next(self.parameters()).device
        given = conditioning_of(self, batch_size, conditioning)
        sampling.check_any_order(type(self).__name__)
        positions = [height * width for height, width in self.spec.shapes]
        drawn: Codes = ()
        with torch.inference_mode(), evaluating(self), torch.autocast(device.type, enabled=False):
            for level, settings in enumerate(sampling.by_level(self.spec.level_names)):
                share = positions[level] / sum(positions)
                report = partial(advance_part, advance, share)
                drawn = (*drawn, self._draw_level(level, drawn, given, settings, first, report, kept))
        return tuple(level.clone() for level in drawn)

    def _draw_level(
        self,
        level: int,
        coarser: Codes,
        conditioning: Conditioning,
        sampling: Sampling,
        first: int,
        advance: Advance,
        kept: KeptCodes | None,
    ) -> Tensor:
        """Codes int64 [B, h, w] of one level."""
        count, shape = len(conditioning.dropped), self.spec.shapes[level]
        nothing = torch.zeros(count, *shape, dtype=torch.int64, device=conditioning.dropped.device)
        codes, known = (nothing, nothing.bool()) if kept is None else (kept.codes[level], kept.known[level])
        guided = is_guided(conditioning, sampling)
        if guided:
            conditioning, coarser = with_unconditional(conditioning, coarser)
        drawn = LevelDraw(level, shape, self.spec.cardinalities[level], first, codes.flatten(1), known.flatten(1), guided)
        features = self.condition_features(level, coarser, conditioning)
        return LevelSampler(self.networks[level], features, drawn, sampling, advance).draw().view(nothing.shape)
