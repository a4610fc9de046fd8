"""The contract of priors: the codes that they model, the conditioning that they take, their likelihood, and sampling.

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

from vqkit.errors import ConfigError, DataError, did_you_mean
from vqkit.interfaces.data import Codes, ConditionSpec
from vqkit.interfaces.plain_values import from_plain

Advance = Callable[[float], None]
"""Reports progress: called with the amount of work done since the last call, in the unit that the function names."""

SamplingMethod = Literal["cached", "fixed-point", "naive"]
SamplingOrder = Literal["halton", "random", "confidence", "raster"]


@dataclass(frozen=True)
class Sampling:
    """Settings of sampling. Raises `ConfigError` for an invalid value.

    `guidance_scale` s: classifier-free guidance, logits u + s (c - u) of conditional logits c and unconditional logits u (Ho and
    Salimans 2022), applied first; 1 disables it. `temperature` divides the logits; one number, or one per level, coarse first.
    `top_k`: sample from the k most probable codes only. `top_p`: from the most probable codes with this total probability only
    (nucleus sampling, Holtzman et al. 2020), applied after `top_k`. `seed`: the same seed gives the same samples. `method`: cached
    (one position per step, with caches), fixed-point (Jacobi iterations over the whole grid) or naive (a full pass per code, the
    reference for the others); all give the same samples. A prior that draws in any order takes instead: `draw_steps`, in which all
    codes are drawn (None: its default); their `order` (`vqkit.priors.orders`); and a number of `revisions`, each of which draws a
    random part of the codes, as many as a step draws on average, once more given all others.
    """

    temperature: float | tuple[float, ...] = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance_scale: float = 1.0
    seed: int = 0
    method: SamplingMethod = "cached"
    draw_steps: int | None = None
    order: SamplingOrder | None = None
    revisions: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.temperature, list):  # a tuple can be hashed
            object.__setattr__(self, "temperature", tuple(self.temperature))
        temperatures = self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)
        if not temperatures:
            raise ConfigError("The tuple of temperatures is empty.", "Give one number, or one per level.")
        for temperature in temperatures:
            if not 0 < temperature < float("inf"):
                raise ConfigError(
                    f"The temperature is {temperature:g}; it must be above 0.",
                    "1 samples from the model itself; 0.8 prefers probable codes.",
                )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top-k is {self.top_k}; it must be at least 1.", "Leave it out to allow all codes.")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top-p is {self.top_p:g}; it must be in (0, 1].", "0.95 excludes the least probable 5%.")
        if not 0 <= self.guidance_scale < float("inf"):
            raise ConfigError(
                f"The guidance scale is {self.guidance_scale:g}; it must be 0 or more.",
                "1 disables guidance; larger values follow the conditions more closely.",
            )
        if self.method not in get_args(SamplingMethod):
            raise ConfigError(f"There is no sampling method '{self.method}'.", f"Known: {', '.join(get_args(SamplingMethod))}.")
        if self.draw_steps is not None and self.draw_steps < 1:
            raise ConfigError(
                f"The number of steps is {self.draw_steps}; it must be at least 1.", "12 is usual; more are more exact."
            )
        if self.order is not None and self.order not in get_args(SamplingOrder):
            raise ConfigError(
                f"There is no order '{self.order}' to draw codes in.", f"Known: {', '.join(get_args(SamplingOrder))}."
            )
        if self.revisions < 0:
            raise ConfigError(f"The number of revisions is {self.revisions}; it must be 0 or more.", "0 draws every code once.")

    def check_raster(self, prior: str) -> None:
        """Raise `ConfigError` if a setting is only for priors that draw in any order; `prior`: what draws in raster order."""
        for name, given in (
            ("--draw-steps", self.draw_steps is not None),
            ("--order", self.order is not None),
            ("--revisions", self.revisions > 0),
        ):
            if given:
                raise ConfigError(
                    f"{prior} draws one code after the other in raster order; {name} was given.",
                    f"Leave {name} out, or train a prior that draws in any order: vqkit train-prior --prior masked",
                )

    def check_any_order(self, prior: str) -> None:
        """Raise `ConfigError` if the method is one of priors that draw in raster order; `prior`: what draws in any order."""
        if self.method != "cached":
            raise ConfigError(
                f"{prior} draws in any order, always with caches; --method {self.method} was given.",
                "Leave it out; --draw-steps and --order decide how codes are drawn.",
            )

    def by_level(self, levels: Sequence[str]) -> tuple[Sampling, ...]:
        """The settings of each of the named levels, coarse first, which differ in their temperature.

        Raises `ConfigError` unless there is one temperature, or one per level.
        """
        if not isinstance(self.temperature, tuple):
            return (self,) * len(levels)
        if len(self.temperature) != len(levels):
            raise ConfigError(
                f"{len(self.temperature)} temperatures were given for the levels of codes {', '.join(levels)}.",
                "Give one number, or one per level, the coarsest first.",
            )
        return tuple(replace(self, temperature=temperature) for temperature in self.temperature)


DEFAULT_SAMPLING = Sampling()


LARGEST = 2**24
"""Most codes of a codebook, and the longest side of a grid, that are believed of a file."""


@dataclass(frozen=True)
class CodeSpec:
    """The codes that a prior models and the conditioning that it takes, level by level, coarse first.

    `shapes` (h, w) and `cardinalities` K of each level. `conditions` and `classes`: the metadata and the classes that it is
    conditioned on, empty if it is not; `observed_channels`: for each level, the channels M of the feature map of a partly observed
    image, empty if it takes none.
    """

    level_names: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    cardinalities: tuple[int, ...]
    conditions: tuple[ConditionSpec, ...] = ()
    classes: tuple[str, ...] = ()
    observed_channels: tuple[int, ...] = ()

    @property
    def is_conditional(self) -> bool:
        """Whether the prior is conditioned on anything."""
        return bool(self.conditions or self.classes or self.observed_channels)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> CodeSpec:
        """The inverse of `to_json`. Raises `DataError` for a value that is missing, of a wrong type, or not possible."""
        spec = from_plain(cls, content)
        sizes = [*spec.cardinalities, *(side for shape in spec.shapes for side in shape)]
        fits = 0 < len(spec.level_names) == len(spec.shapes) == len(spec.cardinalities) and all(
            0 < size <= LARGEST for size in sizes
        )
        if not fits or any(not 0 <= channels <= LARGEST for channels in spec.observed_channels):
            raise DataError(
                f"{len(spec.level_names)} levels of codes are described, with grids {spec.shapes} and {spec.cardinalities} codes.",
                f"Each has a grid and a number of codes, of 1 to {LARGEST}.",
            )
        return spec


class Conditioning(NamedTuple):
    """What a prior is conditioned on, for each of B images.

    `values` float32 [B, D] in the data's own units, NaN where unknown (D = 0 without metadata); `labels` int64 [B], -1 where
    unknown; `observed`: for each level a feature map float32 [B, M, h, w] of the observed part of the image, or empty;
    `dropped` bool [B]: True where the prior's learned null condition replaces all of these.
    """

    values: Tensor
    labels: Tensor
    observed: tuple[Tensor, ...]
    dropped: Tensor

    @classmethod
    def unconditional(cls, count: int, spec: CodeSpec, device: torch.device | None = None) -> Conditioning:
        """The conditioning of `count` unconditional samples: everything unknown and dropped."""
        maps = zip(spec.observed_channels, spec.shapes, strict=False)
        return cls(
            torch.full((count, len(spec.conditions)), torch.nan, device=device),
            torch.full((count,), -1, device=device),
            tuple(torch.zeros(count, channels, *shape, device=device) for channels, shape in maps),
            torch.ones(count, dtype=torch.bool, device=device),
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> Conditioning:
        """Apply a function to every tensor, such as a slice of the batch or a move to a device."""
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
        """Names of the levels that are trained, by default all; the others are frozen, and `loss_function` skips them.

        Set before the optimizer is built. Raises `ConfigError` for an unknown name, for an empty sequence, or for some of the
        levels of a prior that can only train all of them together.
        """
        return self._trained_levels

    @trained_levels.setter
    def trained_levels(self, names: Sequence[str]) -> None:
        known = self.spec.level_names
        if not names:
            raise ConfigError("The list of levels to train is empty.", f"Name one or more of {', '.join(known)}.")
        for name in names:
            if name not in known:
                raise ConfigError(f"The prior has no level '{name}' to train.", did_you_mean(name, known))
        chosen = tuple(name for name in known if name in names)
        self.freeze_other_levels(chosen)
        self._trained_levels = chosen

    def freeze_other_levels(self, names: tuple[str, ...]) -> None:
        """Freeze the parameters of all but the named levels. A prior whose levels have separate parameters overrides this."""
        if names != self.spec.level_names:
            raise ConfigError(
                f"{type(self).__name__} trains all its levels ({', '.join(self.spec.level_names)}) together.",
                "Leave --level out, or use --prior hierarchical.",
            )

    @abstractmethod
    def nll(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """Negative log-likelihood of each code in nats, float32 [B, h, w] for each level; differentiable."""

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

        `conditioning` None: unconditional. `first`: number of the first sample; a sample depends on the seed and its number, and
        not on how samples are divided into batches. `advance` is called with fractions of the work, which sum to 1.
        """

    def forward(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """`nll`, so that the prior can be compiled and hooked like any module."""
        return self.nll(codes, conditioning)

    def loss_function(self, *codes: Tensor, conditioning: Conditioning | None = None) -> dict[str, Tensor]:
        """Losses by name: `total_loss`, the mean negative log-likelihood of a code in nats, and that of each level by its name."""
        given = conditioning or Conditioning.unconditional(len(codes[0]), self.spec, codes[0].device)
        levels = self(codes, given)
        losses = {name: level.mean() for name, level in zip(self.spec.level_names, levels, strict=True)}
        return {"total_loss": torch.cat([level.flatten() for level in levels]).mean(), **losses}
