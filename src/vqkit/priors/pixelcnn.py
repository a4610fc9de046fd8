"""Gated PixelCNN over code indices (van den Oord et al. 2016, "Conditional Image Generation with PixelCNN Decoders", section 2).

    codes ── embedding, ones ──┬── vertical stack ─────── gate ───── gate ─ ...            rows above
                               │                           │ 1x1      │ 1x1
                               └── horizontal stack ────── gate ───── gate ─ + ─ ... ── head ── logits      this row, to the left
    conditions ── 1x1 to every vertical gate and, through the link, to the horizontal one

The vertical stack covers whole rows above, the horizontal one its own row to the left and, through the 1x1 link, the vertical
one: together every earlier position, without a blind spot. Nothing is masked: convolutions are shifted, so that a layer has
exactly the weights it uses. In the first layer both stacks exclude the current position, and there is no residual connection.

Where we depart from the paper: codes are embedded, not fed as numbers; a channel of ones distinguishes padding from content;
learned positions are added to both stacks after the first layer; both stacks have residual connections (in the paper, the
horizontal only), which keep the vertical signal alive through many layers; attention blocks (PixelSNAIL, Chen et al. 2018) may
follow layers.

Cached sampling (`PixelCNNStepper`; Ramachandran et al. 2017, "Fast Generation for Convolutional Autoregressive Models") is exact.
The vertical stack is computed once per row, from the few rows above that its convolutions reach; the horizontal stack once per
position, from the few positions to the left. So every layer computes every position once, as in one full pass. Features are
stored channels last, so that a convolution's window is a row of a matrix and a layer is one matrix product.

Shapes: B samples, C channels, K codes, h x w the grid, E = C condition features, r = kernel // 2 of a layer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from vqkit.config import Settings
from vqkit.errors import ConfigError
from vqkit.interfaces import Codes, CodeSpec, Conditioning
from vqkit.layers.attention import AttentionCache, CausalSelfAttention
from vqkit.layers.module_list import TypedModuleList
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
    dropout: float = Field(0.0, ge=0, lt=1, description="Probability with which gated features are zeroed in training.")

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

    def forward(self, below: Stacks, condition_features: Tensor | None) -> Stacks:
        """`below` [B, inputs, h, w]; `condition_features` [B, E, 1, 1] or [B, E, h, w], or None."""
        reach, ahead = self.reach, -1 if self.first else 0
        vertical = self.vertical(F.pad(below.vertical, (reach, reach, reach, ahead)))
        if self.condition is not None and condition_features is not None:
            vertical = vertical + self.condition(condition_features)
        horizontal = self.horizontal(F.pad(below.horizontal, (reach, ahead))) + self.link(vertical)
        gated = Stacks(gate(vertical), self.out(self.dropout(gate(horizontal))))
        return gated if self.first else Stacks(below.vertical + gated.vertical, below.horizontal + gated.horizontal)


@PRIORS.register("pixelcnn")
class PixelCNN(AutoregressivePrior):
    """The gated PixelCNN; see the module for the diagram.

    `extra_features`: whether `network` gets condition features even without conditions, as the hierarchical prior passes those of
    coarser codes. Raises `ConfigError` for a tokenizer with several levels.
    """

    Options = PixelCNNOptions
    options: PixelCNNOptions

    def __init__(self, options: PixelCNNOptions, spec: CodeSpec, extra_features: bool = False) -> None:
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
        conditional, dropout = spec.is_conditional or extra_features, options.dropout
        first = GatedLayer(channels + 1, channels, options.first_kernel, True, conditional, dropout)
        rest = [GatedLayer(channels, channels, options.kernel, False, conditional, dropout) for _ in range(options.layers - 1)]
        self.layers = TypedModuleList([first, *rest])
        places = attention_places(options.layers, options.attention)
        self.attention = nn.ModuleDict({str(place): CausalSelfAttention(channels) for place in places})
        self.head = nn.Sequential(
            nn.SiLU(), nn.Conv2d(channels, channels, 1), nn.SiLU(), nn.Conv2d(channels, spec.cardinalities[0], 1)
        )

    def logits(self, level: int, codes: Codes, conditioning: Conditioning) -> Tensor:
        """See `AutoregressivePrior.logits`."""
        return self.network(codes[level], self.condition_features(conditioning))

    def network(self, codes: Tensor, condition_features: Tensor | None) -> Tensor:
        """Logits [B, K, h, w] of codes [B, h, w], given condition features [B, E, 1, 1] or [B, E, h, w], or None."""
        features = self.embedding(codes).permute(0, 3, 1, 2)
        inputs = F.pad(features, (0, 0, 0, 0, 0, 1), value=1.0)
        first, *rest = self.layers
        stacks = Stacks(*(self.position(features) for features in first(Stacks(inputs, inputs), condition_features)))
        for number, layer in enumerate(rest, start=1):
            stacks = layer(stacks, condition_features)
            if str(number) in self.attention:
                tokens = stacks.horizontal.flatten(2).transpose(1, 2)
                attended = self.attention[str(number)](tokens).transpose(1, 2).reshape(stacks.horizontal.shape)
                stacks = stacks._replace(horizontal=attended)
        logits: Tensor = self.head(stacks.horizontal)
        return logits

    def condition_features(self, conditioning: Conditioning) -> Tensor | None:
        """Features of the conditioning, [B, E, 1, 1] or [B, E, h, w]; None for an unconditional prior."""
        return self.conditions(conditioning) if self.conditions is not None else None

    def stepper(self, level: int, coarser: Codes, conditioning: Conditioning) -> Stepper:
        """See `AutoregressivePrior.stepper`."""
        del level, coarser
        return PixelCNNStepper(self, self.condition_features(conditioning), len(conditioning.dropped))


def gate(features: Tensor) -> Tensor:
    """tanh of one half of the channels times the sigmoid of the other: [B, 2 C, ...] to [B, C, ...]."""
    value, opening = features.chunk(2, dim=1)
    return value.tanh() * opening.sigmoid()


def attention_places(layers: int, blocks: int) -> list[int]:
    """Numbers of the layers that attention `blocks` < `layers` follow: evenly spread, never layer 0, always the last one."""
    return [round((block + 1) * (layers - 1) / blocks) for block in range(blocks)]


class PixelCNNStepper(Stepper):
    """Computes the logits of a PixelCNN one position at a time, given condition features [B, E, 1, 1] or [B, E, h, w], or None."""

    def __init__(self, prior: PixelCNN, condition_features: Tensor | None, batch: int) -> None:
        height, self._width = prior.spec.shapes[0]
        self._embedding = prior.embedding
        self._first, *self._rest = (CachedLayer(layer, batch, self._width) for layer in prior.layers)
        self._attention: dict[int, tuple[CausalSelfAttention, AttentionCache]] = {}
        for number, module in prior.attention.items():
            assert isinstance(module, CausalSelfAttention)
            self._attention[int(number)] = module, AttentionCache(height * self._width)
        self._places = (prior.position.rows + prior.position.columns).permute(1, 2, 0)
        self._conditions = None
        if condition_features is not None:
            self._conditions = condition_features.permute(0, 2, 3, 1).expand(batch, height, self._width, -1)
        self._head = [_matrix(layer) for layer in prior.head if isinstance(layer, nn.Conv2d)]
        self._position = 0

    def step(self, previous: Tensor | None) -> Tensor:
        """See `Stepper.step`."""
        row, column = divmod(self._position, self._width)
        if previous is not None:
            self._take_in(previous)
        if column == 0:
            self._start_row(row)
        features = self._first.at(column) + self._places[row, column]
        for number, layer in enumerate(self._rest, start=1):
            layer.put(column, features)
            features = layer.at(column).add_(features)
            if number in self._attention:
                block, cache = self._attention[number]
                features = block.step(features, cache)
        self._position += 1
        for weight, bias in self._head:
            features = torch.addmm(bias, F.silu(features), weight)
        return features

    def _take_in(self, previous: Tensor) -> None:
        """Add the code before this position to the inputs, with the channel of ones that distinguishes it from padding."""
        self._first.put((self._position - 1) % self._width, F.pad(self._embedding(previous), (0, 1), value=1.0))

    def _start_row(self, row: int) -> None:
        """Compute the vertical stack of a row and its contribution to the horizontal one."""
        conditions = None if self._conditions is None else self._conditions[:, row].flatten(0, 1)
        # The first layer covers the rows above, whose codes are all known by now.
        vertical = self._first.start_row(self._first.finished_row(), conditions) + self._places[row]
        for layer in self._rest:
            vertical = vertical + layer.start_row(vertical, conditions)


class CachedLayer:
    """A gated layer with a cache of the rows and positions that its next output depends on."""

    def __init__(self, layer: GatedLayer, batch: int, width: int) -> None:
        self._reach, self._width = layer.reach, width
        inputs = layer.vertical.in_channels
        # A window's features are ordered like these rows of the weights: by row, column and channel.
        (self._vertical, self._vertical_bias), (self._horizontal, horizontal_bias), (self._link, link_bias) = (
            _matrix(part) for part in (layer.vertical, layer.horizontal, layer.link)
        )
        self._out, self._out_bias = _matrix(layer.out)
        self._row_bias = horizontal_bias + link_bias
        self._condition = None if layer.condition is None else layer.condition.weight.flatten(1).T
        self._extent = layer.vertical.kernel_size[0]
        zeros = layer.vertical.weight.new_zeros
        self._rows = zeros(batch, self._extent, width + 2 * self._reach, inputs)
        self._left = zeros(batch, width + self._reach, inputs)
        self._added = zeros(batch, width, len(self._row_bias))

    def start_row(self, newest: Tensor, conditions: Tensor | None) -> Tensor:
        """Gated vertical features [B, w, C] of a row, from the newest input row [B, w, inputs] and condition features [B * w, E].

        Stores the contribution of the vertical stack to the horizontal one in this row.
        """
        self._rows = torch.cat([self._rows[:, 1:], F.pad(newest, (0, 0, self._reach, self._reach))[:, None]], dim=1)
        windows = self._rows.unfold(2, 2 * self._reach + 1, 1).permute(0, 2, 1, 4, 3).reshape(-1, len(self._vertical))
        vertical = torch.addmm(self._vertical_bias, windows, self._vertical)
        if self._condition is not None and conditions is not None:
            vertical.addmm_(conditions, self._condition)
        self._added = torch.addmm(self._row_bias, vertical, self._link).view(self._added.shape)
        return _gate_rows(vertical).view(len(newest), self._width, -1)

    def finished_row(self) -> Tensor:
        """The inputs [B, w, inputs] of the row that was finished last."""
        return self._left[:, self._reach :]

    def put(self, column: int, features: Tensor) -> None:
        """Store the input features [B, inputs] of a column of this row."""
        self._left[:, column + self._reach] = features

    def at(self, column: int) -> Tensor:
        """Horizontal features [B, C] of a column, without the residual."""
        window = self._left[:, column : column + self._extent].flatten(1)
        return torch.addmm(self._out_bias, _gate_rows(torch.addmm(self._added[:, column], window, self._horizontal)), self._out)


def _matrix(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A convolution as a matrix [rows * columns * inputs, outputs] and its bias [outputs]."""
    assert layer.bias is not None
    return layer.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous(), layer.bias


def _gate_rows(features: Tensor) -> Tensor:
    """`gate` with channels last: [..., 2 C] to [..., C]."""
    value, opening = features.chunk(2, dim=-1)
    return value.tanh().mul_(opening.sigmoid())
