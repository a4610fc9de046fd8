"""Exact cached sampling of the gated PixelCNN (Ramachandran et al. 2017, "Fast Generation for Convolutional Autoregressive
Models").

The vertical stack is computed once a row, for the whole row, from the few rows above that its convolutions reach. The horizontal
stack is computed once a position, from the few positions to the left. So every layer sees every position once, as in one full pass,
where the naive way takes a full pass for each.

Features lie with their channels last, so that a convolution's window is a row of a matrix and a layer is one matrix product.
Shapes: B samples, C channels, E condition features, h x w the grid, r = kernel // 2 of a layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.priors.autoregressive import Stepper

if TYPE_CHECKING:
    from vqkit.layers.attention import AttentionCache, CausalSelfAttention
    from vqkit.priors.pixelcnn import GatedLayer, PixelCNN


class PixelCNNStepper(Stepper):
    """Draws the codes of a PixelCNN for a batch of samples, told the features [B, C, 1, 1] or [B, C, h, w], or nothing."""

    def __init__(self, prior: PixelCNN, told: Tensor | None, batch: int) -> None:
        height, self._width = prior.spec.shapes[0]
        self._embedding = prior.embedding
        self._first, *self._rest = (CachedLayer(layer, batch, self._width) for layer in prior.layers)
        self._attention: dict[int, tuple[CausalSelfAttention, AttentionCache]] = {}
        for number, module in prior.attention.items():
            block = cast("CausalSelfAttention", module)
            self._attention[int(number)] = block, block.new_cache(batch, height * self._width)
        self._places = (prior.position.rows + prior.position.columns).permute(1, 2, 0)
        self._told = None if told is None else told.permute(0, 2, 3, 1).expand(batch, height, self._width, -1)
        self._head = [_matrix(cast(nn.Conv2d, layer)) for layer in (prior.head[1], prior.head[3])]
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
        """The code before this position becomes an input, with the channel of ones that tells it from padding."""
        self._first.put((self._position - 1) % self._width, F.pad(self._embedding(previous), (0, 1), value=1.0))

    def _start_row(self, row: int) -> None:
        """The vertical stack of a row, and what it adds to the horizontal one."""
        told = None if self._told is None else self._told[:, row].reshape(-1, self._told.shape[-1])
        # The first layer looks at the rows above: all of their codes are known by now.
        vertical = self._first.start_row(self._first.finished_row(), told) + self._places[row]
        for layer in self._rest:
            vertical = vertical + layer.start_row(vertical, told)


class CachedLayer:
    """A gated layer with the rows and positions that its next output needs."""

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

    def start_row(self, newest: Tensor, told: Tensor | None) -> Tensor:
        """Gated vertical features [B, w, C] of a row, from the newest row [B, w, inputs] of those it sees and told [B * w, E].

        Keeps what the vertical stack adds to the horizontal one in this row.
        """
        self._rows = torch.cat([self._rows[:, 1:], F.pad(newest, (0, 0, self._reach, self._reach))[:, None]], dim=1)
        windows = self._rows.unfold(2, 2 * self._reach + 1, 1).permute(0, 2, 1, 4, 3).reshape(-1, len(self._vertical))
        vertical = torch.addmm(self._vertical_bias, windows, self._vertical)
        if self._condition is not None and told is not None:
            vertical.addmm_(told, self._condition)
        self._added = torch.addmm(self._row_bias, vertical, self._link).view(self._added.shape)
        return _gate(vertical).view(len(newest), self._width, -1)

    def finished_row(self) -> Tensor:
        """The inputs [B, w, inputs] that were put in the row before."""
        return self._left[:, self._reach :]

    def put(self, column: int, features: Tensor) -> None:
        """Input features [B, inputs] of a column of this row."""
        self._left[:, column + self._reach] = features

    def at(self, column: int) -> Tensor:
        """Horizontal features [B, C] of a column, without the residual."""
        window = self._left[:, column : column + self._extent].flatten(1)
        return torch.addmm(self._out_bias, _gate(torch.addmm(self._added[:, column], window, self._horizontal)), self._out)


def _matrix(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """A convolution as a matrix [rows * columns * inputs, outputs] and its bias [outputs]."""
    assert layer.bias is not None
    return layer.weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous(), layer.bias


def _gate(features: Tensor) -> Tensor:
    """tanh of one half of the channels times the logistic function of the other: [..., 2 C] to [..., C]."""
    value, opening = features.chunk(2, dim=-1)
    return value.tanh().mul_(opening.sigmoid())
