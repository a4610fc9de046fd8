"""How codes are drawn from logits: guidance, temperature, top-k, top-p, and noise that belongs to a sample and to nothing else.

A code is drawn by the Gumbel-max trick, argmax(logits + G) with G standard Gumbel noise (Gumbel 1954; Maddison et al. 2014), so
that a sample is a function of its noise: the same whether computed with caches or without, alone or in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from vqkit.errors import ConfigError
from vqkit.randomness import generator_for

Method = Literal["cached", "fixed-point", "naive"]


@dataclass(frozen=True)
class Sampling:
    """How to draw codes. Raises `ConfigError` for a value that means nothing.

    `temperature` divides the logits (below 1: safer, above 1: more varied); one number, or one for each level, coarse first;
    `top_k`: only the k most probable codes; `top_p`: only the most probable codes that together have this probability (Holtzman et
    al. 2020), after `top_k`;
    `guidance_scale` s: logits u + s (c - u) from conditional c and unconditional u (Ho and Salimans 2022), before all else; 1: c;
    `seed`: same seed, same samples; `method`: cached (fast and exact), fixed-point (Jacobi iterations over the whole grid, exact),
    or naive (a full pass for every code, to check the others against).
    """

    temperature: float | tuple[float, ...] = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance_scale: float = 1.0
    seed: int = 0
    method: Method = "cached"

    def __post_init__(self) -> None:
        if isinstance(self.temperature, list):  # as good as a tuple, but for comparing and hashing
            object.__setattr__(self, "temperature", tuple(self.temperature))
        temperatures = self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)
        if not temperatures:
            raise ConfigError("There is no temperature in an empty tuple.", "Give one number, or one for each level.")
        for temperature in temperatures:
            if not 0 < temperature < float("inf"):
                raise ConfigError(
                    f"The temperature is {temperature:g}; it must be above 0.", "1 draws from the model as it is; 0.8 is safer."
                )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top-k is {self.top_k}; at least one code must be allowed.", "Leave it out to allow all codes.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top-p is {self.top_p:g}; it must be in (0, 1].", "0.95 leaves out the least probable 5%.")
        if not 0 <= self.guidance_scale < float("inf"):
            raise ConfigError(
                f"The guidance scale is {self.guidance_scale:g}; it must be 0 or more.",
                "1 is no guidance; 2 follows conditions more.",
            )
        if self.method not in get_args(Method):
            raise ConfigError(f"There is no sampling method '{self.method}'.", f"Known: {', '.join(get_args(Method))}.")

    def by_level(self, levels: Sequence[str]) -> tuple[Sampling, ...]:
        """For each of the named levels, coarse first, the same with that level's temperature.

        Raises `ConfigError` unless there is one temperature, or one for each level.
        """
        if not isinstance(self.temperature, tuple):
            return (self,) * len(levels)
        if len(self.temperature) != len(levels):
            raise ConfigError(
                f"{len(self.temperature)} temperatures were given for the levels of codes {', '.join(levels)}.",
                "Give one number, or one for each level, the coarsest first.",
            )
        return tuple(replace(self, temperature=temperature) for temperature in self.temperature)


DEFAULT_SAMPLING = Sampling()


def gumbel_noise(seed: int, level: int, first: int, count: int, positions: int, num_codes: int) -> Tensor:
    """Standard Gumbel noise float32 [count, positions, num_codes] of the samples numbered `first`, `first` + 1, ...

    A function of (seed, level, number) alone.
    """
    uniform = torch.empty(count, positions, num_codes)
    for number, row in enumerate(uniform, start=first):
        row.uniform_(1e-10, 1, generator=generator_for(seed, "codes", level, number))
    return uniform.log_().neg_().log_().neg_()


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance on logits."""
    return unconditional + scale * (conditional - unconditional)


def choose(logits: Tensor, noise: Tensor, sampling: Sampling) -> Tensor:
    """Draw codes int64 [...] of one level from its guided logits [..., K] with Gumbel noise [..., K]."""
    assert not isinstance(sampling.temperature, tuple), "several temperatures: see Sampling.by_level"
    logits = logits.float() / sampling.temperature
    return (_allowed(logits, sampling) + noise).argmax(dim=-1)


def _allowed(logits: Tensor, sampling: Sampling) -> Tensor:
    """The logits with minus infinity for codes that `top_k` and `top_p` rule out; the most probable code always stays."""
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        kept = logits.topk(sampling.top_k, dim=-1)
        logits = torch.full_like(logits, -torch.inf).scatter(-1, kept.indices, kept.values)
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probabilities = ordered.softmax(dim=-1)
        beyond = probabilities.cumsum(dim=-1) - probabilities >= sampling.top_p
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -torch.inf)
    return logits
