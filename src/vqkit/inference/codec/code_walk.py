"""The order in which a prior's codes are coded, and what the prior expects of each, given those before it.

Levels go coarse first. Priors in raster order give one code of each image at a time, and a masked prior those of one step of its
Halton order: by default one code a step as well, which is its exact likelihood. The walk is the same for one who knows the codes
and for one who reads them, in arithmetic too: float32, one thread, the same batch.

Shapes: B images, n codes of each that are coded together, K possible ones, h x w the grid of a level.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.inference.codec.probabilities import check_alphabet
from vqkit.interfaces import Codes, Conditioning, Prior
from vqkit.priors.autoregressive import AutoregressivePrior
from vqkit.priors.codes_so_far import CodesSoFar
from vqkit.priors.masked import MaskedPrior
from vqkit.priors.sampling import evaluating


class CodeStep(Protocol):
    """Gives codes."""

    def __call__(self, level: int, positions: Tensor, logits: Tensor) -> Tensor:
        """Codes int64 [B, n] at positions int64 [n] of a level, numbered row by row, which have the logits float32 [B, n, K]."""


def check_prior(prior: Prior, draw_steps: int | None) -> None:
    """Raise `ConfigError` for a prior that gives no probabilities step by step, too many codes, or steps that it cannot have."""
    if not isinstance(prior, AutoregressivePrior | MaskedPrior):
        raise ConfigError(
            f"{type(prior).__name__} gives no probability of one code after the other.",
            "Compress with a prior in raster order or with a masked one.",
        )
    if draw_steps is not None and not isinstance(prior, MaskedPrior):
        raise ConfigError(
            f"{type(prior).__name__} gives one code after the other in raster order; --draw-steps was given.",
            "Leave --draw-steps out, or train a prior that draws in any order: vqkit train-prior --prior masked",
        )
    for name, codes in zip(prior.spec.level_names, prior.spec.cardinalities, strict=True):
        check_alphabet(codes, name)


def walk_codes(prior: Prior, count: int, draw_steps: int | None, code: CodeStep) -> Codes:
    """The codes int64 [B, h, w] of `count` images, as `code` gives them, on the prior's device; all conditions are unknown.

    `draw_steps`: of a masked prior, at most as many as it has codes; None: one code a step.
    """
    device = next(prior.parameters()).device
    nothing = Conditioning.unconditional(count, prior.spec, device)
    coarser: Codes = ()
    with reproducible(device), torch.inference_mode(), evaluating(prior), torch.autocast(device.type, enabled=False):
        for level, shape in enumerate(prior.spec.shapes):
            if isinstance(prior, MaskedPrior):
                found = _in_any_order(prior, level, coarser, nothing, draw_steps, code)
            else:
                assert isinstance(prior, AutoregressivePrior), "see check_prior"
                found = _in_raster_order(prior, level, coarser, nothing, code)
            coarser = (*coarser, found.view(count, *shape))
    return tuple(level.clone() for level in coarser)


@contextmanager
def reproducible(device: torch.device) -> Iterator[None]:
    """A context in which the same numbers give the same results on one machine, however many cores it lends.

    One thread: sums over several would depend on how many there are.
    """
    before = torch.get_num_threads()
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        try:
            if device.type == "cpu":
                torch.set_num_threads(1)
            yield
        finally:
            torch.set_num_threads(before)


def _in_raster_order(prior: AutoregressivePrior, level: int, coarser: Codes, nothing: Conditioning, code: CodeStep) -> Tensor:
    """Codes int64 [B, h * w] of one level."""
    height, width = prior.spec.shapes[level]
    codes = torch.zeros(len(nothing.dropped), height * width, dtype=torch.int64, device=nothing.dropped.device)
    stepper = prior.stepper(level, coarser, nothing)
    previous = None
    for position in range(height * width):
        logits = stepper.step(previous)
        previous = code(level, torch.tensor([position]), logits[:, None])[:, 0]
        codes[:, position] = previous
    return codes


def _in_any_order(
    prior: MaskedPrior, level: int, coarser: Codes, nothing: Conditioning, draw_steps: int | None, code: CodeStep
) -> Tensor:
    """Codes int64 [B, h * w] of one level."""
    device, count = nothing.dropped.device, len(nothing.dropped)
    order = prior.order(level, "halton", draw_steps)
    positions = order.ranks[0].argsort()
    sizes = torch.unique_consecutive(order.steps[0][positions], return_counts=True)[1].tolist()
    state = CodesSoFar(prior.networks[level], prior.condition_features(level, coarser, nothing), count)
    codes = torch.zeros(count, len(positions), dtype=torch.int64, device=device)
    for group in torch.split(positions.to(device), sizes):
        codes[:, group] = code(level, group.cpu(), state.logits(group[None]))
        state.add(codes[:, group], group[None])
    return codes
