"""Models of codes: what a prior models, what it may be told, and what it does.

Shapes: B images, D condition values, K codes, h x w a grid of codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from vqkit.errors import ConfigError, did_you_mean
from vqkit.interfaces.data import Codes, ConditionSpec
from vqkit.sampling import DEFAULT_SAMPLING, Sampling


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
    def nothing(cls, count: int, spec: CodeSpec, device: torch.device | None = None) -> Conditioning:
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
    def nats(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """Negative log-likelihood of each code in nats, float32 [B, h, w] for each level; with a gradient in training."""

    @abstractmethod
    def sample(
        self,
        batch_size: int,
        conditioning: Conditioning | None = None,
        sampling: Sampling = DEFAULT_SAMPLING,
        first: int = 0,
        advance: Callable[[float], None] | None = None,
    ) -> Codes:
        """Draw codes int64 [B, h, w] of each level, on the prior's device.

        `conditioning` None: the null condition; `first`: number of the first sample, so that a sample is a function of the seed and
        its number, however the samples are cut into batches; `advance` is called with shares of the work done, summing to 1.
        """

    def forward(self, codes: Codes, conditioning: Conditioning) -> tuple[Tensor, ...]:
        """`nats`, as what is compiled and what hooks see."""
        return self.nats(codes, conditioning)

    def loss_function(self, *codes: Tensor, conditioning: Conditioning | None = None) -> dict[str, Tensor]:
        """`total_loss`, the mean negative log-likelihood of a code in nats, and the same for each level by its name."""
        given = conditioning or Conditioning.nothing(len(codes[0]), self.spec, codes[0].device)
        levels = self(codes, given)
        losses = {name: level.mean() for name, level in zip(self.spec.level_names, levels, strict=True)}
        return {"total_loss": torch.cat([level.flatten() for level in levels]).mean(), **losses}
