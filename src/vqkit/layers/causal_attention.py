"""Self-attention that never looks ahead, for whole sequences and one position at a time.

Shapes: B samples, P positions in order, C channels, N heads of C / N channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.layers.residual import number_of_heads, zero


class AttentionCache:
    """Keys and values [B, N, P, C / N] of the `filled` positions that have been seen."""

    def __init__(self, batch: int, heads: int, positions: int, head_width: int, device: torch.device) -> None:
        self.keys = torch.empty(batch, heads, positions, head_width, device=device)
        self.values = torch.empty_like(self.keys)
        self.filled = 0


class CausalSelfAttention(nn.Module):
    """x + out(attention(norm(x))), where a position looks at itself and at earlier ones; starts as the identity."""

    def __init__(self, channels: int, head_width: int = 64) -> None:
        super().__init__()
        self.heads = number_of_heads(channels, head_width)
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        zero(self.out)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, P, C] to [B, P, C]."""
        query, key, value = self._split(tokens)
        ahead = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).triu(1)
        # Written out: on a processor the fused kernel's backward pass is several times slower at these sizes.
        weights = (query @ key.transpose(2, 3) * query.shape[-1] ** -0.5).masked_fill(ahead, -torch.inf).softmax(dim=-1)
        return tokens + self._joined(weights.to(value.dtype) @ value)

    def step(self, token: Tensor, cache: AttentionCache) -> Tensor:
        """The next position alone, [B, C] to [B, C]; the cache takes it in."""
        query, key, value = self._split(token[:, None])
        last = cache.filled
        cache.keys[:, :, last], cache.values[:, :, last] = key[:, :, 0], value[:, :, 0]
        cache.filled = last + 1
        keys, values = cache.keys[:, :, : last + 1], cache.values[:, :, : last + 1]
        weights = (query @ keys.transpose(2, 3) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return token + self._joined(weights @ values)[:, 0]

    def new_cache(self, batch: int, positions: int) -> AttentionCache:
        """An empty cache for `batch` sequences of up to `positions`."""
        return AttentionCache(batch, self.heads, positions, self.out.in_features // self.heads, self.out.weight.device)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value, each [B, N, P, C / N]."""
        parts = self.project(self.norm(tokens)).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        return query, key, value

    def _joined(self, mixed: Tensor) -> Tensor:
        """Heads [B, N, P, C / N] to [B, P, C]."""
        return self.out(mixed.transpose(1, 2).flatten(2))
