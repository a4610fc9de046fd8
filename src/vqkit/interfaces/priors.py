"""Models of codes: what a prior models, what it may be told, and what it does.

Shapes: B images, D condition values, K codes, h x w a grid of codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from vqkit.errors import ConfigError, did_you_mean
from vqkit.interfaces.data import Codes, ConditionSpec

Advance = Callable[[float], None]
"""Reports progress: called with the amount of work done since the last call, in the unit that the function names."""

SamplingMethod = Literal["cached", "fixed-point", "naive"]


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
    method: SamplingMethod = "cached"

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
        if self.method not in get_args(SamplingMethod):
            raise ConfigError(f"There is no sampling method '{self.method}'.", f"Known: {', '.join(get_args(SamplingMethod))}.")

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


@dataclass(frozen=True)
class CodeSpec:
    """What a prior models and what it may be told, level by level, coarse first.

    `shapes` (h, w) and `cardinalities` K of each level. `conditions` and `classes`: the metadata and the classes that it is told,
    empty if it is not; `observed_channels`: M of the feature map of a partly seen image for each level, empty if it gets none.
    """

    level_names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    cardinalities: tuple[int, ...]
    conditions: tuple[ConditionSpec, ...] = ()
    classes: tuple[str, ...] = ()
    observed_channels: tuple[int, ...] = ()

    @property
    def is_conditional(self) -> bool:
        """Whether the prior is told anything."""
        return bool(self.conditions or self.classes or self.observed_channels)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CodeSpec:
        """The inverse of `to_json`."""
        values = {name: tuple(value) for name, value in content.items()}
        values["shapes"] = tuple((height, width) for height, width in values["shapes"])
        values["conditions"] = tuple(ConditionSpec(**condition) for condition in values["conditions"])
        return cls(**values)


class Conditioning(NamedTuple):
    """What a prior is told about each of B images.

    `values` float32 [B, D] in the data's own units, NaN where unknown (D = 0 without metadata); `labels` int64 [B], -1 where
    unknown; `observed`: for each level a feature map float32 [B, M, h, w] of what is seen of the image (empty without);
    `dropped` bool [B]: where True the prior gets its learned null condition in place of all of these.
    """

    values: Tensor
    labels: Tensor
    observed: tuple[Tensor, ...]
    dropped: Tensor

    @classmethod
    def unconditional(cls, count: int, spec: CodeSpec, device: torch.device | None = None) -> Conditioning:
        """The null condition for `count` images."""
        maps = zip(spec.observed_channels, spec.shapes, strict=False)
        return cls(
            torch.full((count, len(spec.conditions)), torch.nan, device=device),
            torch.full((count,), -1, device=device),
            tuple(torch.zeros(count, channels, *shape, device=device) for channels, shape in maps),
            torch.ones(count, dtype=torch.bool, device=device),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Conditioning:
        """The function of every tensor: a slice of the batch, a move to a device, repeats."""
        return Conditioning(
            function(self.values), function(self.labels), tuple(map(function, self.observed)), function(self.dropped)
        )


class Prior(nn.Module, ABC):
    """A distribution over a tokenizer's codes. It sees grids, cardinalities and conditions, never pixels."""

    Options: ClassVar[type[BaseModel]]

    def __init__(self, options: BaseModel, spec: CodeSpec) -> None:
        super().__init__()
        self.options = options
        self.spec = spec
        self._trained_levels = spec.level_names

    @property
    def trained_levels(self) -> tuple[str, ...]:
        """Names of the levels that learn, at first all. The parameters of the others are frozen, and `loss_function` skips them.

        Set to other names before the optimizer is made. Raises `ConfigError` for an unknown name, for none, or for a part of the
        levels of a prior that can only learn them together.
        """
        return self._trained_levels

    @trained_levels.setter
    def trained_levels(self, names: Sequence[str]) -> None:
        known = self.spec.level_names
        if not names:
            raise ConfigError("No level of the prior is to be trained.", f"Name one or more of {', '.join(known)}.")
        for name in names:
            if name not in known:
                raise ConfigError(f"The prior has no level '{name}' to train.", did_you_mean(name, known))
        chosen = tuple(name for name in known if name in names)
        self.freeze_other_levels(chosen)
        self._trained_levels = chosen

    def freeze_other_levels(self, names: tuple[str, ...]) -> None:
        """Let only the parameters of the named levels learn. A prior whose levels have parameters of their own overrides this."""
        if names != self.spec.level_names:
            raise ConfigError(
                f"{type(self).__name__} learns its levels ({', '.join(self.spec.level_names)}) together.",
                "Leave --level out, or use --prior hierarchical.",
            )

    @abstractmethod
    def nll(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """Negative log-likelihood of each code in nats, float32 [B, h, w] for each level; with a gradient in training."""

    @abstractmethod
    def sample(
        self,
        batch_size: int,
        conditioning: Conditioning | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        first: int = 0,
        advance: Advance | None = None,
    ) -> Codes:
        """Draw codes int64 [B, h, w] of each level, on the prior's device.

        `conditioning` None: the null condition; `first`: number of the first sample, so that a sample is a function of the seed and
        its number, however the samples are cut into batches; `advance` is called with shares of the work done, summing to 1.
        """

    def forward(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """`nll`, as what is compiled and what hooks see."""
        return self.nll(codes, conditioning)

    def loss_function(self, *codes: Tensor, conditioning: Conditioning | None = None) -> dict[str, Tensor]:
        """`total_loss`, the mean negative log-likelihood of a code in nats, and the same for each level by its name."""
        given = conditioning or Conditioning.unconditional(len(codes[0]), self.spec, codes[0].device)
        levels = self(codes, given)
        losses = {name: level.mean() for name, level in zip(self.spec.level_names, levels, strict=True)}
        return {"total_loss": torch.cat([level.flatten() for level in levels]).mean(), **losses}
