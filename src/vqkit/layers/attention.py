"""Self-attention over a grid, and causal self-attention over a sequence, in one pass or step by step with a cache.

Shapes: B samples, P positions in order, C channels, N heads of C / N channels, h x w a grid of positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.layers.residual import init_zero

FUSED_POSITIONS = 1024
"""Positions from which `SelfAttention` on a CPU keeps no scores in memory.

With 4,096 positions of 64 channels, as images of 256 x 256 have, scores that are written to memory take 410 ms an image forward and
backward in float32 and 206 in bfloat16, and those of the fused kernel 209 and 169. With 128 positions in bfloat16 its backward pass
is several times slower. Decided by the positions and not by the batch, so that an image alone is encoded as in any batch.
"""


class _Attention(nn.Module):
    """The layers of `x + out(attention(norm(x)))`, which is the identity at initialisation, and the split into heads."""

    def __init__(self, channels: int, head_width: int = 64) -> None:
        super().__init__()
        self.heads = number_of_heads(channels, head_width)
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        init_zero(self.out)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each [B, N, P, C / N], of tokens [B, P, C]."""
        parts = self.project(self.norm(tokens)).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        return query, key, value

    def _attend(self, scores: Tensor, value: Tensor) -> Tensor:
        """Attention output [B, P, C] of scores [B, N, P, P'] and values [B, N, P', C / N]."""
        return self._join(scores.softmax(dim=-1).to(value.dtype) @ value)

    def _join(self, mixed: Tensor) -> Tensor:
        """The output [B, P, C] of the mixed values [B, N, P, C / N] of all heads."""
        return self.out(mixed.transpose(1, 2).flatten(2))


class SelfAttention(_Attention):
    """Self-attention between all positions of a feature map.

    A missing component is predicted from the whole image, beyond the receptive field of a few convolutions.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, h, w]."""
        query, key, value = self._split(x.flatten(2).transpose(1, 2))
        # Not on a GPU, where the backward pass of the fused kernels adds in another order each time.
        if query.shape[2] >= FUSED_POSITIONS and x.device.type == "cpu":
            attended = self._join(F.scaled_dot_product_attention(query, key, value))
        else:
            attended = self._attend(_scores(query, key), value)
        return x + attended.transpose(1, 2).reshape(x.shape)


class KeysValues(NamedTuple):
    """Keys and values of one layer, [B, N, P, C / N] each."""

    keys: Tensor
    values: Tensor


class AttentionCache:
    """The keys and values of one layer so far, in memory that is allocated once for `expected` positions and doubled if need be."""

    def __init__(self, expected: int) -> None:
        self._positions, self._filled = expected, 0
        self._memory: KeysValues | None = None

    def add(self, new: KeysValues) -> KeysValues:
        """Keys and values [B, N, P', C / N] after those so far; returns all of them."""
        filled = self._filled + new.keys.shape[2]
        if self._memory is None or filled > self._positions:
            self._positions = self._positions if filled <= self._positions else 2 * filled
            memory = KeysValues(*(each.new_empty(*each.shape[:2], self._positions, each.shape[3]) for each in new))
            if self._memory is not None:
                for own, before in zip(memory, self._memory, strict=True):
                    own[:, :, : self._filled] = before[:, :, : self._filled]
            self._memory = memory
        for own, added in zip(self._memory, new, strict=True):
            own[:, :, self._filled : filled] = added
        self._filled = filled
        return self.all()

    def all(self) -> KeysValues:
        """All so far, [B, N, P, C / N] each."""
        assert self._memory is not None
        return KeysValues(*(each[:, :, : self._filled] for each in self._memory))


class CausalSelfAttention(_Attention):
    """Self-attention in which a position of a sequence attends to itself and to earlier ones."""

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, P, C] to [B, P, C]."""
        query, key, value = self._split(tokens)
        future = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).triu(1)
        return tokens + self._attend(_scores(query, key).masked_fill(future, -torch.inf), value)

    def step(self, token: Tensor, cache: AttentionCache) -> Tensor:
        """The next position alone, [B, C] to [B, C]; adds its key and value to the cache."""
        query, key, value = self._split(token[:, None])
        keys, values = cache.add(KeysValues(key, value))
        return token + self._attend(_scores(query, keys), values)[:, 0]


def number_of_heads(channels: int, head_width: int) -> int:
    """Number of heads of about `head_width` channels: the largest divisor of `channels` up to `channels // head_width`."""
    wanted = max(1, channels // head_width)
    return next(heads for heads in range(wanted, 0, -1) if channels % heads == 0)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """Attention scores of P queries and P' keys before the softmax: [B, N, P, P'].

    Not `scaled_dot_product_attention`: see `FUSED_POSITIONS`.
    """
    return query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
