"""Self-attention: of every position to every other one, and one that never looks ahead, for whole sequences and step by step.

Shapes: B samples, P positions in order, C channels, N heads of C / N channels, h x w a grid of positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.layers.residual import zero


class _Attention(nn.Module):
    """x + out(attention(norm(x))), starting as the identity: the layers, and the ways to the heads and back."""

    def __init__(self, channels: int, head_width: int = 64) -> None:
        super().__init__()
        self.heads = number_of_heads(channels, head_width)
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        zero(self.out)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each [B, N, P, C / N], of tokens [B, P, C]."""
        parts = self.project(self.norm(tokens)).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        return query, key, value

    def _joined(self, scores: Tensor, value: Tensor) -> Tensor:
        """What is added to tokens: [B, P, C], from scores [B, N, P, P'] and the values [B, N, P', C / N] looked at."""
        mixed = scores.softmax(dim=-1).to(value.dtype) @ value
        return self.out(mixed.transpose(1, 2).flatten(2))


class SelfAttention(_Attention):
    """Every position of a map looks at every other one.

    A missing component has to be guessed from the whole image, further than a few convolutions see.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] to [B, C, h, w]."""
        query, key, value = self._split(x.flatten(2).transpose(1, 2))
        return x + self._joined(_scores(query, key), value).transpose(1, 2).reshape(x.shape)


class AttentionCache:
    """Keys and values [B, N, P, C / N] of the `filled` positions that have been seen."""

    def __init__(self, batch: int, heads: int, positions: int, head_width: int, device: torch.device) -> None:
        self.keys = torch.empty(batch, heads, positions, head_width, device=device)
        self.values = torch.empty_like(self.keys)
        self.filled = 0


class CausalSelfAttention(_Attention):
    """A position of a sequence looks at itself and at earlier ones."""

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, P, C] to [B, P, C]."""
        query, key, value = self._split(tokens)
        ahead = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).triu(1)
        return tokens + self._joined(_scores(query, key).masked_fill(ahead, -torch.inf), value)

    def step(self, token: Tensor, cache: AttentionCache) -> Tensor:
        """The next position alone, [B, C] to [B, C]; the cache takes it in."""
        query, key, value = self._split(token[:, None])
        last = cache.filled
        cache.keys[:, :, last], cache.values[:, :, last] = key[:, :, 0], value[:, :, 0]
        cache.filled = last + 1
        keys, values = cache.keys[:, :, : last + 1], cache.values[:, :, : last + 1]
        return token + self._joined(_scores(query, keys), values)[:, 0]

    def new_cache(self, batch: int, positions: int) -> AttentionCache:
        """An empty cache for `batch` sequences of up to `positions`."""
        return AttentionCache(batch, self.heads, positions, self.out.in_features // self.heads, self.out.weight.device)


def number_of_heads(channels: int, head_width: int) -> int:
    """How many equal heads of about `head_width` channels there are: `channels // head_width`, or the next smaller divisor."""
    wanted = max(1, channels // head_width)
    return next(heads for heads in range(wanted, 0, -1) if channels % heads == 0)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """How much each of P positions looks at each of P', before the softmax: [B, N, P, P'].

    Written out: on a processor the fused kernel's backward pass is several times slower at these sizes (128 positions).
    """
    return query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
