"""Gated PixelCNN over code indices (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders", section 2).

    codes ── embedding, ones ──┬── vertical stack ─────── gate ───── gate ─ ...            rows above
                               │                           │ 1x1      │ 1x1
                               └── horizontal stack ────── gate ───── gate ─ + ─ ... ── head ── logits      this row, to the left
    conditions ── 1x1 to every vertical gate and, through the link, to the horizontal one

The vertical stack sees whole rows above, the horizontal one its own row to the left and, through the 1x1 link, the vertical one:
together every earlier position, without a blind spot. Nothing is masked: convolutions are shifted, so that a layer has exactly the
weights it uses. In the first layer both stacks exclude the current position, and there is no residual.

Where we depart from the paper: the codes are embedded, not fed as numbers; a channel of ones tells padding from content; learned
positions are added to both stacks after the first layer; residual connections on both stacks (the paper: horizontal only) keep the
vertical signal alive through many layers; attention blocks (PixelSNAIL, Chen et al. 2018) may stand between layers.

Shapes: B samples, C channels, K codes, h x w the grid, E = C condition features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from vqkit.config import Settings
from vqkit.errors import ConfigError
from vqkit.interfaces import Codes, CodeSpec, Conditioning
from vqkit.layers.attention import CausalSelfAttention
from vqkit.layers.prior_conditions import PriorConditions
from vqkit.layers.residual import PositionEmbedding
from vqkit.priors.autoregressive import AutoregressivePrior, Stepper
from vqkit.registry import PRIORS


class PixelCNNOptions(Settings):
    """Settings of the gated PixelCNN."""

    channels: int = Field(128, ge=8, description="Channels of both stacks.")
    layers: int = Field(15, ge=1, description="Gated layers.")
    kernel: int = Field(3, ge=3, description="Width of the convolutions, odd; half of it, rounded up, is their height.")
    first_kernel: int = Field(7, ge=3, description="The same for the first layer.")
    attention: int = Field(0, ge=0, description="Causal attention blocks, spread evenly between the layers (PixelSNAIL).")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the gated features that are zeroed in training.")

    @field_validator("kernel", "first_kernel")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError(f"the kernel must be odd, not {value}")
        return value

    @model_validator(mode="after")
    def _attention_between_layers(self) -> PixelCNNOptions:
        if self.attention >= self.layers:
            raise ValueError(f"attention ({self.attention} blocks) must be less than the number of layers ({self.layers})")
        return self


class Stacks(NamedTuple):
    """Features of the vertical and the horizontal stack, [B, C, h, w] each."""

    vertical: Tensor
    horizontal: Tensor


class GatedLayer(nn.Module):
    """One layer of both stacks; `first` excludes the current row from the vertical and the current position from the other.

    With r = kernel // 2, the vertical convolution covers rows i - r ... i and columns j - r ... j + r, the horizontal one columns
    j - r ... j; in the first layer rows i - r ... i - 1 and columns j - r ... j - 1.
    """

    def __init__(self, inputs: int, channels: int, kernel: int, first: bool, conditional: bool, dropout: float) -> None:
        super().__init__()
        self.first, self.reach = first, kernel // 2
        extent = self.reach if first else self.reach + 1
        self.vertical = nn.Conv2d(inputs, 2 * channels, (extent, kernel))
        self.horizontal = nn.Conv2d(inputs, 2 * channels, (1, extent))
        self.link = nn.Conv2d(2 * channels, 2 * channels, 1)
        self.condition = nn.Conv2d(channels, 2 * channels, 1, bias=False) if conditional else None
        self.out = nn.Conv2d(channels, channels, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, below: Stacks, told: Tensor | None) -> Stacks:
        """`below` [B, inputs, h, w]; `told` [B, E, 1, 1] or [B, E, h, w]: what the conditions come to, None without any."""
        reach, ahead = self.reach, -1 if self.first else 0
        vertical = self.vertical(F.pad(below.vertical, (reach, reach, reach, ahead)))
        if self.condition is not None and told is not None:
            vertical = vertical + self.condition(told)
        horizontal = self.horizontal(F.pad(below.horizontal, (reach, ahead))) + self.link(vertical)
        gated = Stacks(gate(vertical), self.out(self.dropout(gate(horizontal))))
        return gated if self.first else Stacks(below.vertical + gated.vertical, below.horizontal + gated.horizontal)


@PRIORS.register("pixelcnn", "gated PixelCNN: convolutions over earlier codes, exact cached sampling")
class PixelCNN(AutoregressivePrior):
    """The gated PixelCNN of this module; see there for the diagram.

    `accompanied`: whether its user adds features to what the conditions come to, as the hierarchical prior does with coarser codes.
    Raises `ConfigError` for a tokenizer of several levels.
    """

    Options = PixelCNNOptions
    options: PixelCNNOptions

    def __init__(self, options: PixelCNNOptions, spec: CodeSpec, accompanied: bool = False) -> None:
        super().__init__(options, spec)
        if len(spec.level_names) != 1:
            raise ConfigError(
                f"The prior pixelcnn models one level of codes; this tokenizer has {len(spec.level_names)}.",
                "Use --prior hierarchical, or a tokenizer of one level, such as vqvae.",
            )
        channels = options.channels
        self.embedding = nn.Embedding(spec.cardinalities[0], channels)
        self.position = PositionEmbedding(channels, *spec.shapes[0])
        self.conditions = PriorConditions(spec, channels) if spec.is_conditional else None
        told, dropout = spec.is_conditional or accompanied, options.dropout
        first = GatedLayer(channels + 1, channels, options.first_kernel, True, told, dropout)
        rest = [GatedLayer(channels, channels, options.kernel, False, told, dropout) for _ in range(options.layers - 1)]
        self.layers: Sequence[GatedLayer] = nn.ModuleList([first, *rest])  # type: ignore[assignment]
        places = attention_places(options.layers, options.attention)
        self.attention = nn.ModuleDict({str(place): CausalSelfAttention(channels) for place in places})
        self.head = nn.Sequential(
            nn.SiLU(), nn.Conv2d(channels, channels, 1), nn.SiLU(), nn.Conv2d(channels, spec.cardinalities[0], 1)
        )

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        """See `AutoregressivePrior.logits`."""
        return self.network(codes[level], self.told(conditioning))

    def network(self, codes: Tensor, told: Tensor | None) -> Tensor:
        """Logits [B, K, h, w] of codes [B, h, w], told features [B, C, 1, 1] or [B, C, h, w], or nothing."""
        features = self.embedding(codes).permute(0, 3, 1, 2)
        inputs = F.pad(features, (0, 0, 0, 0, 0, 1), value=1.0)
        first, *rest = self.layers
        stacks = Stacks(*(self.position(features) for features in first(Stacks(inputs, inputs), told)))
        for number, layer in enumerate(rest, start=1):
            stacks = layer(stacks, told)
            if str(number) in self.attention:
                tokens = stacks.horizontal.flatten(2).transpose(1, 2)
                attended = self.attention[str(number)](tokens).transpose(1, 2).reshape(stacks.horizontal.shape)
                stacks = stacks._replace(horizontal=attended)
        logits: Tensor = self.head(stacks.horizontal)
        return logits

    def told(self, conditioning: Conditioning) -> Tensor | None:
        """What the conditions come to, [B, E, 1, 1] or [B, E, h, w]; None for an unconditional prior."""
        return self.conditions(conditioning) if self.conditions is not None else None

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        """See `AutoregressivePrior.stepper`."""
        from vqkit.priors.pixelcnn_stepper import PixelCNNStepper

        del level, coarser
        return PixelCNNStepper(self, self.told(conditioning), len(conditioning.dropped))


def gate(features: Tensor) -> Tensor:
    """tanh of one half of the channels times the logistic function of the other: [B, 2 C, ...] to [B, C, ...]."""
    value, opening = features.chunk(2, dim=1)
    return value.tanh() * opening.sigmoid()


def attention_places(layers: int, blocks: int) -> list[int]:
    """Numbers of the layers after which `blocks` < `layers` stand: evenly spread, none after layer 0, one after the last one."""
    return [round((block + 1) * (layers - 1) / blocks) for block in range(blocks)]
